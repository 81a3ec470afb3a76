"""Worker processes of this machine as a `Pool`.

In: tasks. Out: events. A worker that raises, hangs, runs out of memory or dies costs its own case and is replaced.
Knows no journal and writes nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing import connection
from typing import Any

from lungseg3d.core import LungSegError, QualityIssue
from lungseg3d.io import free_memory_bytes
from lungseg3d.workflows.batch.pool import Event, Finished, Limits, Lost, Moved
from lungseg3d.workflows.batch.worker import Worker
from lungseg3d.workflows.batch_state.case import Segmenter, Task

WORKER_BYTES = 3 * 2**30
"""Free memory that a further worker is started for unasked: a CT of 512 x 512 x 255 voxels takes 2 GiB."""
_MOST_FAILED_STARTS = 3


class LocalPool:
    """A `Pool` of processes on this machine.

    Args:
        segmenter: what each worker opens.
        limits: of each case.
    """

    def __init__(self, segmenter: Segmenter, limits: Limits) -> None:
        self._segmenter, self._limits = segmenter, limits
        # NVML tells whether there is a GPU without touching it; a process that was forked after a touch cannot use it.
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        # The process that workers are forked from would look for modules in the folder that the batch was started in.
        os.environ["PYTHONSAFEPATH"] = "1"
        self._context: Any = multiprocessing.get_context(segmenter.start_method)
        if segmenter.start_method == "forkserver":
            self._context.set_forkserver_preload(list(segmenter.preload))
        self._workers: list[Worker] = []
        self._failed_starts = 0

    def room(self) -> int:
        """One a CPU core that this process may use, as long as memory lasts; one where a GPU does the work."""
        if self._segmenter.start_method == "spawn":
            return 1
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(cores, free_memory_bytes() // WORKER_BYTES))

    def want(self, count: int) -> None:
        """See `Pool`."""
        while len(self._workers) < count:
            self._workers.append(Worker(self._context, self._segmenter, self._limits))

    def is_ready(self) -> bool:
        """See `Pool`."""
        return any(worker.is_idle for worker in self._workers)

    def submit(self, task: Task) -> None:
        """See `Pool`."""
        worker = next(worker for worker in self._workers if worker.is_idle)
        worker.begin(task)

    def wait(self, longest_s: float) -> list[Event]:
        """See `Pool`."""
        sources = [source for worker in self._workers for source in worker.sources]
        if sources:
            connection.wait(sources, longest_s)
        else:
            time.sleep(longest_s)
        events: list[Event] = []
        for worker in list(self._workers):
            is_alive = worker.process.is_alive()  # asked first: what it said before its death is still in the pipe
            events += self._heard(worker)
            if not is_alive:
                events += self._lost(worker, worker.reason())
            elif worker.overdue_s(self._limits) > 0:
                text = f"no end after {self._limits.time_s:g} s, the time limit."
                events += self._lost(worker, ("E_TIMEOUT", text, "Give more time with --time-limit, or crop the CT."))
        return events

    def end(self) -> None:
        """See `Pool`."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def _heard(self, worker: Worker) -> list[Event]:
        events: list[Event] = []
        for kind, *content in worker.messages():
            if kind == "broken":
                raise LungSegError(*content)
            task = worker.task
            if kind == "ready":
                self._failed_starts = 0
            elif task is None:
                continue
            elif kind == "step":
                events.append(Moved(task.case_id, *content))
            else:
                worker.task = None
                is_end = kind == "outcome"
                events.append(Finished(task, content[0]) if is_end else Lost(task, content[0]))
                issues = content[0].issues if is_end else content
                if any(issue.code == "E_OUT_OF_MEMORY" for issue in issues):
                    # What was too large may still be held in pieces: the next case gets a worker of its own.
                    self._remove(worker)
        return events

    def _lost(self, worker: Worker, reason: tuple[str, str, str]) -> list[Event]:
        if worker not in self._workers:
            return []
        self._remove(worker)
        code, text, remedy = reason
        if not worker.is_open:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS:
                raise LungSegError(code, f"no worker could be started: {text}", remedy)
        if worker.task is None:
            return []
        return [Lost(worker.task, QualityIssue(code, f"{worker.task.case_id}: {text}", remedy))]

    def _remove(self, worker: Worker) -> None:
        worker.kill()
        self._workers.remove(worker)
