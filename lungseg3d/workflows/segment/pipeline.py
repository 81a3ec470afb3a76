"""A pipeline over cases: one is read, one lies with the networks, one is measured and written at the same time.

In: jobs, opened models. Out: `CaseResult`s in the jobs' order. The networks never wait for a disk or a report; what is
written is the same as for each case alone. One bad case stops no other.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from lungseg3d.core import CaseResult
from lungseg3d.core.progress import OnProgress
from lungseg3d.workflows.segment.case import CaseRun
from lungseg3d.workflows.segment.job import CaseJob
from lungseg3d.workflows.segment.models import Models

_Made = TypeVar("_Made")


def segment_line(
    jobs: Iterable[CaseJob], models: Models, on_progress: OnProgress | None = None, ahead: bool = True
) -> list[CaseResult]:
    """Do the cases.

    Args:
        jobs: asked for one by one, each when the one before has been read.
        models: opened for the options of all.
        on_progress: called from three threads, never from two at once.
        ahead: read and write beside the networks; without, one case after the other, which needs memory for one only.

    Returns:
        One record a job, in order.
    """
    told = _one_at_a_time(on_progress)
    if not ahead:
        return [_alone(CaseRun(job, models, told)) for job in jobs]
    finished: list[Future[CaseResult]] = []
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        waiting = (_begun(reader, _opened, CaseRun(job, models, told)) for job in jobs)
        reading = next(waiting, None)
        while reading is not None:
            run, reading = reading.result(), next(waiting, None)
            run.compute()
            if finished:
                finished[-1].result()  # two that wait to be written would be one too many in memory
            finished.append(_begun(writer, CaseRun.finish, run))
    return [one.result() for one in finished]


def _opened(run: CaseRun) -> CaseRun:
    run.read()
    return run


def _alone(run: CaseRun) -> CaseResult:
    run.read()
    run.compute()
    return run.finish()


def _begun(pool: ThreadPoolExecutor, part: Callable[[CaseRun], _Made], run: CaseRun) -> Future[_Made]:
    """In the pool's thread, but in this one's context: whoever profiles here sees what happens there."""
    return pool.submit(contextvars.copy_context().run, part, run)


def _one_at_a_time(on_progress: OnProgress | None) -> OnProgress | None:
    lock = threading.Lock()

    def told(case_id: str, step: str, fraction: float) -> None:
        with lock:
            assert on_progress is not None
            on_progress(case_id, step, fraction)

    return told if on_progress else None
