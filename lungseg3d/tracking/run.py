"""One run on its way to an MLflow store: every operation in the journal of a folder, and a thread that sends it.

In: what is to be tracked. Out: a run in the store, now or when it is replayed. Raises nothing once it is open. Knows no
engine.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lungseg3d.io import make_folder, sha256_of, write_text
from lungseg3d.tracking.facts import git_revision, without_paths
from lungseg3d.tracking.journal import Journal
from lungseg3d.tracking.sender import Sender
from lungseg3d.tracking.store import journal_uri

logger = logging.getLogger(__name__)

LONGEST_FLUSH_S = 8.0
"""How long the end of a run waits for a server."""
LONGEST_LOCAL_FLUSH_S = 60.0
"""How long it waits for a SQLite file, which cannot be away but may take a while to be made."""


def unique_run_name(prefix: str) -> str:
    """`prefix` and eight random hexadecimal digits: with MLflow's default name a killed run swallows the next one."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


class TrackedRun:
    """A run from its start to its end; opening it closes those that a kill left open in the same folder.

    Args:
        folder: of the journal, of `mlruns.db`, and of what is sent; absolute.
        tracking_uri: of the store.
        name: of the run, see `unique_run_name`.

    Raises:
        OSError: the folder cannot hold a journal.
    """

    def __init__(self, folder: Path, tracking_uri: str, name: str) -> None:
        self.folder, self.tracking_uri, self.name = folder, tracking_uri, name
        self._uri = journal_uri(tracking_uri, folder)
        self._key = uuid.uuid4().hex
        self._journal = Journal.open_in(folder)
        self._journal.close_killed_runs()
        self._sender = Sender(self._journal, tracking_uri, folder, lambda run: self._journal.uri(run) == self._uri)
        self._warned: set[str] = set()

    def start(self, experiment: str, tags: Mapping[str, str], parent: str | None = None) -> None:
        """Begin to send.

        Args:
            experiment: its name.
            tags: beside the run; the revision of the program is one more.
            parent: name of the run that holds this one, made when it is missing.
        """
        revision = git_revision()
        said = {**tags, "mlflow.source.name": experiment, "mlflow.source.type": "JOB"}
        said |= {"mlflow.source.git.commit": revision} if revision else {}
        self.log("start", experiment=experiment, name=self.name, tags=without_paths(said), parent=parent, uri=self._uri)
        self._sender.start()

    def start_shared(self, experiment: str) -> None:
        """Begin to send to the run of this name that several processes write to, one after another.

        The store makes it, as FINISHED, if it lacks it; such a run holds the members of a comparison, or an evaluation.
        End it with the status None.

        Args:
            experiment: its name.
        """
        self.log("start", experiment=experiment, name=self.name, tags={}, parent=None, shared=True, uri=self._uri)
        self._sender.start()

    def log(self, op: str, **fields: Any) -> None:
        """One operation, see `Journal`."""
        try:
            self._journal.append(self._key, op, **fields)
        except OSError as error:  # such as a full disk; it is kept in memory, and sent
            self.warn("W_TRACKING_JOURNAL", f"{self._journal.path}: {error}; what is not sent now is lost")
        self._sender.wake()

    def log_file(self, op: str, path: Path, **fields: Any) -> None:
        """An operation about a file as it is now; one that is changed before it could be sent is not sent."""
        path = path.absolute()
        where = path.relative_to(self.folder) if path.is_relative_to(self.folder) else path
        self.log(op, path=where.as_posix(), sha256=sha256_of(path), **fields)

    def log_text(self, name: str, text: str) -> None:
        """A text that becomes a file of the run."""
        path = self.own_folder / name
        make_folder(path.parent)
        write_text(path, text)
        self.log_file("artifact", path, under="")

    @property
    def own_folder(self) -> Path:
        """For files that only this run has, so that what one could not send is not overwritten by the next."""
        return self.folder / "tracking" / self.name

    def end(self, status: str | None, tags: Mapping[str, str] | None = None) -> None:
        """Say how it ended: FINISHED, FAILED or KILLED; None for a shared run, whose status stays."""
        self.log("end", status=status, tags=dict(tags or {}))

    def close(self, longest_s: float | None = None) -> None:
        """Wait a little for what is not sent yet, and let others have the journal."""
        usual_s = LONGEST_LOCAL_FLUSH_S if self.tracking_uri.startswith("sqlite:") else LONGEST_FLUSH_S
        left = self._sender.close(usual_s if longest_s is None else longest_s)
        if left and self._sender.failure is None:
            self.warn("W_TRACKING_UNSENT", f"{left} operations. Send them: lungseg3d replay {self.folder}")
        self._journal.close()

    def warn(self, code: str, text: str) -> None:
        """Once for each code."""
        if code not in self._warned:
            logger.warning(f"{code}: {text}")
        self._warned.add(code)


def add_metrics(
    folder: Path, tracking_uri: str, prefix: str, values: Mapping[str, float], *, is_sent: bool = True
) -> str | None:
    """Log metrics once onto a run that has ended: the last one of `folder` whose name begins with `prefix`.

    They go to the journal of that run, so that they never reach a store before the run does. Does nothing where there
    is no such run, or where it has one of these metrics.

    Args:
        folder: of the journal; absolute.
        tracking_uri: of the store; a run that was meant for another one is not sent there.
        prefix: of the run's name.
        values: name -> value, of step 0.
        is_sent: False leaves them to `lungseg3d replay`.

    Returns:
        Why they have not arrived; None when nothing is left to send.

    Raises:
        OSError: the journal cannot be written, or another process holds it.
    """
    for path in reversed(Journal.files_in(folder)):
        journal = Journal(path)
        try:
            named = [key for key in journal.runs() if journal.name(key).startswith(prefix)]
            if named:
                _append_once(journal, named[-1], values)
                return _send_rest(journal, folder, tracking_uri, is_sent)
        finally:
            journal.close()
    return None


def _append_once(journal: Journal, run: str, values: Mapping[str, float]) -> None:
    known = {key for one in journal.runs()[run] if one["op"] == "metrics" for key in one["values"]}
    if values and known.isdisjoint(values):
        journal.append(run, "metrics", step=0, values=dict(values))


def _send_rest(journal: Journal, folder: Path, tracking_uri: str, is_sent: bool) -> str | None:
    """Send, if asked, what the store lacks; why something is left."""
    uri = journal_uri(tracking_uri, folder)
    sender = Sender(journal, tracking_uri, folder, lambda key: journal.uri(key) == uri)
    if is_sent:
        sender.send_all()
    return (sender.failure or sender.file_failure or "not sent yet") if sender.unsent() else None
