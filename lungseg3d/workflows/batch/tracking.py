"""A batch in MLflow: one run with its configuration, how many cases ended how, and the summary.

In: the identity, then the records. Out: a run in the store of `MLFLOW_TRACKING_URI`, else in `<out>/mlruns.db`. Through
the journal and the sender of trainings: a store that is away costs seconds at the end, and `lungseg3d replay` sends the
rest. Whatever fails here is a warning. Tracked are counts, codes, case ids; no path.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lungseg3d.tracking.facts import flat_parameters, versions, without_paths
from lungseg3d.tracking.run import TrackedRun, unique_run_name
from lungseg3d.tracking.store import tracking_uri_of
from lungseg3d.workflows.batch_state.identity import Identity
from lungseg3d.workflows.batch_state.journal import ENDED, Record

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
        self._run: TrackedRun | None = None
        try:
            self._run = _opened(out.absolute(), identity)
        except Exception as error:
            self._warn(error)

    def close(self, records: Mapping[str, Record], files: Sequence[Path], stopped_by: int | None) -> None:
        """Send how the cases ended and the summary, and wait a little.

        Args:
            records: of every case.
            files: of the summary.
            stopped_by: the signal that ended the run early, if one did.
        """
        if self._run is None:
            return
        try:
            _close(self._run, records, files, stopped_by)
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        logger.warning(f"W_TRACKING_FAULT: {type(error).__name__}: {error}")


def _opened(out: Path, identity: Identity) -> TrackedRun:
    parameters = flat_parameters(without_paths(dict(identity.facts))) | versions()
    run = TrackedRun(out, tracking_uri_of(out), unique_run_name(EXPERIMENT))
    run.start(EXPERIMENT, {})
    run.log("params", values=parameters | {"identity_sha256": identity.sha256})
    return run


def _close(run: TrackedRun, records: Mapping[str, Record], files: Sequence[Path], stopped_by: int | None) -> None:
    counts = Counter(record.status for record in records.values())
    codes = Counter(issue.code for record in records.values() for issue in record.issues)
    seconds = [sum(record.timings_s.values()) for record in records.values() if record.status == "done"]
    values = {f"cases/{status}": float(counts[status]) for status in (*ENDED, "pending")}
    values |= {f"issues/{code}": float(count) for code, count in sorted(codes.items())}
    values |= {"seconds_a_case": sum(seconds) / len(seconds)} if seconds else {}
    run.log("metrics", step=0, values=values)
    for path in files:
        run.log_file("artifact", path, under="")
    run.end("FINISHED" if stopped_by is None else "KILLED")
    run.close(None if stopped_by is None else LONGEST_STOPPED_S)
