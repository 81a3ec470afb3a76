"""The work of a batch: cases to workers, outcomes to their final name and into the journal, until none is left.

In: cases to do, a pool of workers. Out: folders and records, each whole or not there. This process alone places and
records, so a worker may die at any moment; when this one dies, the next run settles what it left.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from lungseg3d.core import OutputError, QualityIssue
from lungseg3d.io import CaseFolder, place_folder, remove_folder
from lungseg3d.workflows.batch.plan import PlannedCase
from lungseg3d.workflows.batch.pool import Finished, Lost, Moved, Pool
from lungseg3d.workflows.batch_state.case import Outcome, Task, outputs_in, stop
from lungseg3d.workflows.batch_state.identity import Identity
from lungseg3d.workflows.batch_state.journal import BatchJournal
from lungseg3d.workflows.batch_state.records import BatchState, OnBatchState

PATIENCE_S = 5.0
"""How long cases that run may still take to end after Ctrl-C or SIGTERM."""
_POLL_S = 0.5


class Stop:
    """While it lasts, Ctrl-C and SIGTERM are noted rather than raised; `signal` is the number of the first."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._deadline: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @property
    def is_over(self) -> bool:
        """Whether the cases that run have had their time."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The second one is in earnest.
        self._deadline = time.monotonic() + (PATIENCE_S if self.signal is None else 0.0)
        self.signal = self.signal or number


@dataclass
class BatchRun:
    """One run of a batch.

    Attributes:
        out: folder of the results.
        work: folder on the same file system, where workers write.
        journal: held by this process.
        identity: what the results depend on.
        total, skipped: cases in all, and those that need no work.
        on_progress: called when a case begins, moves or ends.
    """

    out: Path
    work: Path
    journal: BatchJournal
    identity: Identity
    total: int
    skipped: int
    on_progress: OnBatchState | None = None
    _counts: Counter[str] = field(default_factory=Counter)
    _running: dict[str, tuple[str, float]] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _tasks: int = 0

    def work_through(self, cases: Sequence[PlannedCase], pool: Pool, workers: int, stopping: Stop) -> None:
        """Do the cases; returns when all have ended, or a while after `stopping` has a signal.

        Raises:
            LungSegError: no worker can be started.
            OutputError: the journal cannot be written.
        """
        waiting = deque(cases)
        workers = workers or pool.room()
        try:
            while (waiting and stopping.signal is None) or (self._running and not stopping.is_over):
                if stopping.signal is None:
                    pool.want(min(workers, len(waiting) + len(self._running)))
                    while waiting and pool.is_ready():
                        self._begin(waiting.popleft(), pool)
                for event in pool.wait(_POLL_S):
                    self._take(event)
        finally:
            pool.end()

    def _begin(self, case: PlannedCase, pool: Pool) -> None:
        self._tasks += 1
        # A number of its own for every try: a worker that was given up may still write into its folder.
        folder = self.work / f"{self._tasks:06d}-{case.case_id}"
        self._running[case.case_id] = ("begin", 0.0)
        pool.submit(Task(case.case_id, case.source, folder))
        self._tell()

    def _take(self, event: Moved | Finished | Lost) -> None:
        if isinstance(event, Moved):
            self._running[event.case_id] = (event.step, event.fraction)
            self._tell()
            return
        outcome = self._outcome_of(event.task, event.issue) if isinstance(event, Lost) else event.outcome
        self._place(event.task, outcome)
        self._running.pop(outcome.case_id, None)
        self._counts[outcome.status] += 1
        self._tell(outcome)

    def _outcome_of(self, task: Task, issue: QualityIssue) -> Outcome:
        """Of a case whose worker could not say it itself: with a page that says why, where one can be written."""
        try:
            stop(task, issue)
            return Outcome(task.case_id, "failed", (issue,), outputs=outputs_in(task.folder))
        except OSError:
            return Outcome(task.case_id, "failed", (issue,))

    def _place(self, task: Task, outcome: Outcome) -> None:
        """Files to their final name, and the record; in this order, a kill at any moment can be settled."""
        target = self.out / task.case_id
        if not any(output.name == CaseFolder.RECORD for output in outcome.outputs):
            # Nothing whole came of it, so what was there stays.
            outcome = replace(outcome, outputs=outputs_in(target))
            self.journal.announce(outcome, self.identity)
        else:
            self.journal.announce(outcome, self.identity)
            try:
                place_folder(task.folder, target, self.work)
            except OutputError as error:
                issue = QualityIssue.of(error)
                failed = Outcome(task.case_id, "failed", (*outcome.issues, issue), outputs=outputs_in(target))
                self.journal.announce(failed, self.identity)
        self.journal.confirm(task.case_id)
        with contextlib.suppress(OSError):  # what cannot go now goes at the end
            remove_folder(task.folder)

    def _tell(self, last: Outcome | None = None) -> None:
        if self.on_progress is not None:
            seconds = time.monotonic() - self._began
            counts, running = dict(self._counts), dict(self._running)
            self.on_progress(BatchState(self.total, self.skipped, counts, running, seconds, last))
