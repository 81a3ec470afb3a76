"""A batch in MLflow: one run with its configuration, how many cases ended how, and the summary.

In: the identity, then the records. Out: a run in the store of `MLFLOW_TRACKING_URI`, else in `<out>/mlruns.db`. Through
the journal and the sender of trainings: a store that is away costs seconds at the end, and `lungseg3d replay` sends the
rest. Whatever fails here is a warning. Tracked are counts, codes, case ids; no path.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lungseg3d.engines.tracking import LONGEST_FLUSH_S, LONGEST_LOCAL_FLUSH_S, unique_run_name
from lungseg3d.engines.tracking_facts import flat_parameters, git_revision, versions, without_paths
from lungseg3d.engines.tracking_journal import Journal
from lungseg3d.engines.tracking_sender import Sender
from lungseg3d.engines.tracking_store import own_store, without_password
from lungseg3d.io import sha256_of
from lungseg3d.workflows.batch_identity import Identity
from lungseg3d.workflows.batch_journal import Record
from lungseg3d.workflows.compare_tracking import tracking_uri_of

logger = logging.getLogger(__name__)

EXPERIMENT = "batch"
LONGEST_STOPPED_S = 2.0
"""How long a batch that was stopped by a signal waits for the store."""


class BatchTracking:
    """The MLflow run of one run of a batch; opened here, closed by `close`.

    Args:
        out: folder of the batch; the journal of what is sent lies there.
        identity: what the results depend on.
    """

    def __init__(self, out: Path, identity: Identity) -> None:
        self._out = out.absolute()
        self._uri = tracking_uri_of(self._out)
        self._key = uuid.uuid4().hex
        self._journal: Journal | None = None
        try:
            self._open(identity)
        except Exception as error:
            self._warn(error)

    def close(self, records: Mapping[str, Record], files: Sequence[Path], stopped_by: int | None) -> None:
        """Send how the cases ended and the summary, and wait a little.

        Args:
            records: of every case.
            files: of the summary.
            stopped_by: the signal that ended the run early, if one did.
        """
        if self._journal is None:
            return
        try:
            self._close(records, files, stopped_by)
        except Exception as error:
            self._warn(error)

    def _open(self, identity: Identity) -> None:
        self._journal = journal = Journal.open_in(self._out)
        journal.close_killed_runs()
        uri = None if self._uri == own_store(self._out) else without_password(self._uri)
        self._sender = Sender(journal, self._uri, self._out, lambda run: journal.uri(run) == uri)
        revision = git_revision()
        tags = {"mlflow.source.name": EXPERIMENT, "mlflow.source.type": "JOB"}
        tags |= {"mlflow.source.git.commit": revision} if revision else {}
        name = unique_run_name(EXPERIMENT)
        journal.append(self._key, "start", experiment=EXPERIMENT, name=name, tags=tags, parent=None, uri=uri)
        parameters = flat_parameters(without_paths(dict(identity.facts))) | versions()
        journal.append(self._key, "params", values=parameters | {"identity_sha256": identity.sha256})
        self._sender.start()

    def _close(self, records: Mapping[str, Record], files: Sequence[Path], stopped_by: int | None) -> None:
        assert self._journal is not None
        counts = Counter(record.status for record in records.values())
        codes = Counter(issue.code for record in records.values() for issue in record.issues)
        seconds = [sum(record.timings_s.values()) for record in records.values() if record.status == "done"]
        values = {f"cases/{status}": float(counts[status]) for status in ("done", "refused", "failed", "pending")}
        values |= {f"issues/{code}": float(count) for code, count in sorted(codes.items())}
        values |= {"seconds_a_case": sum(seconds) / len(seconds)} if seconds else {}
        self._journal.append(self._key, "metrics", step=0, values=values)
        for path in files:
            where = path.absolute().relative_to(self._out).as_posix()
            self._journal.append(self._key, "artifact", path=where, sha256=sha256_of(path), under="")
        self._journal.append(self._key, "end", status="FINISHED" if stopped_by is None else "KILLED", tags={})
        longest_s = LONGEST_LOCAL_FLUSH_S if self._uri.startswith("sqlite:") else LONGEST_FLUSH_S
        left = self._sender.close(longest_s if stopped_by is None else LONGEST_STOPPED_S)
        if left and self._sender.failure is None:
            logger.warning(f"W_TRACKING_UNSENT: {left} operations. Send them: lungseg3d replay {self._out}")
        self._journal.close()

    def _warn(self, error: Exception) -> None:
        logger.warning(f"W_TRACKING_FAULT: {type(error).__name__}: {error}")
