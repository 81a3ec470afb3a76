"""`replay`: what a training could not send to its MLflow store, sent now.

In: the folder of a training, with its journals. Out: runs as they would be, had the store always been there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lungseg3d.core import LungSegError
from lungseg3d.tracking.journal import Journal
from lungseg3d.tracking.sender import Sender
from lungseg3d.tracking.store import own_store, without_password

REQUEST_TIMEOUT_S = 60
"""Longer than in training: nobody waits, and checkpoints may be large."""


@dataclass(frozen=True)
class Replayed:
    """What a replay did.

    Attributes:
        runs: names of the runs that were brought up to date.
        sent: operations sent now.
        refused: operations that the store will never take, such as a file that was overwritten since.
    """

    runs: tuple[str, ...]
    sent: int
    refused: int


def replay(folder: Path | str, tracking_uri: str | None = None) -> Replayed:
    """Send what is left in the journals of `folder`; sending twice is sending once.

    Args:
        folder: `output_dir` of one training or of several.
        tracking_uri: where to; None takes MLFLOW_TRACKING_URI, else the store that each run was meant for. A store
            that has nothing of a run gets all of it.

    Raises:
        LungSegError: E_NO_JOURNAL when the folder holds none; E_STILL_TRAINING while a training writes one;
            E_TRACKING_OFFLINE when the store does not take them, with what it said.
    """
    folder = Path(folder).absolute()
    paths = Journal.files_in(folder)
    if not paths:
        text = f"{folder} has no tracking.jsonl"
        remedy = "Give the folder of a training, a batch, an evaluation or a comparison."
        raise LungSegError("E_NO_JOURNAL", text, remedy)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_TIMEOUT_S))
    chosen = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    done = Replayed((), 0, 0)
    for path in paths:
        try:
            journal = Journal(path)
        except BlockingIOError as error:
            raise LungSegError("E_STILL_TRAINING", f"{path} is being written", "It sends by itself.") from error
        try:
            journal.close_killed_runs()
            for uri in dict.fromkeys(journal.uri(run) for run in journal.runs()):
                done = _replay_to(chosen, journal, folder, uri, done)
        finally:
            journal.close()
    return done


def _replay_to(chosen: str | None, journal: Journal, folder: Path, uri: str | None, done: Replayed) -> Replayed:
    """The runs of one journal that were meant for `uri`."""
    target = chosen or uri or own_store(folder)
    sender = Sender(journal, target, folder, lambda run: journal.uri(run) == uri)
    waiting = {operation["run"] for operation in sender.unsent()}
    sender.send_all()
    if left := len(sender.unsent()):
        raise LungSegError(
            "E_TRACKING_OFFLINE",
            f"{without_password(target)} did not take {left} operations: {sender.failure or sender.file_failure}",
            "Run this again when it does. Nothing is lost until then.",
        )
    return Replayed(
        done.runs + tuple(journal.name(run) for run in journal.runs() if run in waiting),
        done.sent + sender.sent,
        done.refused + sender.refused,
    )
