"""Worker processes of this machine: each opens the models once and does one case at a time.

In: tasks. Out: events: a step, an outcome, or a worker that was lost and why. A worker that raises, hangs, runs out of
memory or dies costs its own case and is replaced. Knows no journal and writes nothing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any, Protocol

from lungseg3d.core import LungSegError, QualityIssue
from lungseg3d.core.errors import fault_of
from lungseg3d.io import ending_of, free_memory_bytes, is_out_of_memory, kernel_kills, limit_memory
from lungseg3d.workflows.batch_case import Outcome, Segmenter, Task, do_task

START_LIMIT_S = 900.0
WORKER_BYTES = 3 * 2**30
"""Free memory that a further worker is started for unasked: a CT of 512 x 512 x 255 voxels takes 2 GiB."""
_MOST_FAILED_STARTS = 3
_MOST_LOG_BYTES = 65536


@dataclass(frozen=True)
class Limits:
    """What one case may take: seconds, and bytes of address space of its worker (None: no limit)."""

    time_s: float = 3600.0
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Moved:
    """A case has come to another step."""

    case_id: str
    step: str
    fraction: float


@dataclass(frozen=True)
class Finished:
    """A case has come to its end; its files lie in the task's folder."""

    task: Task
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """Nothing came of a case; its folder may hold anything."""

    task: Task
    issue: QualityIssue


Event = Moved | Finished | Lost


class Pool(Protocol):
    """Workers, wherever they are."""

    def room(self) -> int:
        """How many workers there is room for, where nobody says how many there shall be."""

    def want(self, count: int) -> None:
        """Have this many workers, those that are starting included."""

    def is_ready(self) -> bool:
        """Whether a worker waits for a task."""

    def submit(self, task: Task) -> None:
        """Give a task to a worker that waits."""

    def wait(self, longest_s: float) -> list[Event]:
        """What has happened; waits for it, `longest_s` at most.

        Raises:
            LungSegError: no worker can be started.
        """

    def end(self) -> None:
        """End every worker at once, whatever it does."""


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
        self._context: Any = multiprocessing.get_context(segmenter.start_method)
        if segmenter.start_method == "forkserver":
            self._context.set_forkserver_preload(list(segmenter.preload))
        self._workers: list[_Worker] = []
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
            self._workers.append(_Worker(self._context, self._segmenter, self._limits))

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

    def _heard(self, worker: _Worker) -> list[Event]:
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

    def _lost(self, worker: _Worker, reason: tuple[str, str, str]) -> list[Event]:
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

    def _remove(self, worker: _Worker) -> None:
        worker.kill()
        self._workers.remove(worker)


class _Worker:
    """One process and the pipes to it."""

    def __init__(self, context: Any, segmenter: Segmenter, limits: Limits) -> None:
        self._pipe, theirs = context.Pipe()
        self._log_pipe, their_log = context.Pipe(duplex=False)
        self._log = b""
        self._kills_before = kernel_kills()
        self.task: Task | None = None
        self.is_open = False
        self._began = time.monotonic()
        self.process = context.Process(target=_work, args=(segmenter, limits, theirs, their_log), daemon=True)
        self.process.start()
        theirs.close()
        their_log.close()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a task."""
        return self.is_open and self.task is None and self.process.is_alive()

    @property
    def sources(self) -> list[Any]:
        """What to wait for."""
        logs = [] if self._log_pipe.closed else [self._log_pipe]
        return [self.process.sentinel, *([] if self._pipe.closed else [self._pipe]), *logs]

    def begin(self, task: Task) -> None:
        """Hand over a task; where the worker has died meanwhile, `wait` will say so."""
        self.task, self._began = task, time.monotonic()
        with contextlib.suppress(OSError):
            self._pipe.send(task)

    def messages(self) -> list[tuple]:
        """What it has said since the last time; also what it printed, for `reason`."""
        said = []
        try:
            while self._pipe.poll():
                said.append(self._pipe.recv())
                self.is_open = self.is_open or said[-1][0] == "ready"
        except (EOFError, OSError):
            self._pipe.close()
        self._read_log()
        return said

    def overdue_s(self, limits: Limits) -> float:
        """Seconds beyond its limit; negative before."""
        if self.is_open and self.task is None:
            return -1.0
        return time.monotonic() - self._began - (limits.time_s if self.is_open else START_LIMIT_S)

    def reason(self) -> tuple[str, str, str]:
        """Why it died: code, words, way out."""
        self.process.join(1.0)
        ending = ending_of(self.process.exitcode or 0, self._log.decode("utf-8", "replace"), self._kills_before)
        if ending.code == "E_OUT_OF_MEMORY":
            return ending.code, f"memory ran out ({ending.how}).", "Take fewer --workers, crop the CT, or add memory."
        remedy = "Run the same command again; report it if it recurs."
        return "E_WORKER_LOST", f"its process ended ({ending.how}).", remedy

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.join(5.0)
        for pipe in (self._pipe, self._log_pipe):
            pipe.close()

    def _read_log(self) -> None:
        while not self._log_pipe.closed and connection.wait([self._log_pipe], 0):
            text = os.read(self._log_pipe.fileno(), _MOST_LOG_BYTES)
            self._log = (self._log + text)[-_MOST_LOG_BYTES:]
            if not text:
                self._log_pipe.close()


def _work(segmenter: Segmenter, limits: Limits, pipe: Connection, log: Connection) -> None:
    """What a worker process does until nobody is there to give it tasks."""
    # Ctrl-C and SIGTERM reach all processes of a terminal or a job: who started this one decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)
    log.close()
    faulthandler.enable(file=2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if limits.memory_bytes is not None:
        limit_memory(limits.memory_bytes)
    try:
        segment = segmenter.open()
    except Exception as error:
        pipe.send(("broken", *said_of(error, "the models")))
        return
    pipe.send(("ready",))
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            outcome = do_task(segment, task, lambda step, fraction: pipe.send(("step", step, fraction)))
        except Exception as error:
            pipe.send(("lost", QualityIssue(*said_of(error, task.case_id))))
        else:
            pipe.send(("outcome", outcome))


def said_of(error: Exception, what: str) -> tuple[str, str, str]:
    """Code, message and way out of an error that nobody else has put into words."""
    if isinstance(error, LungSegError):
        return error.code, error.message, error.remedy
    if isinstance(error, MemoryError) or is_out_of_memory(str(error)):
        return "E_OUT_OF_MEMORY", f"{what}: memory ran out.", "Give more with --memory-limit, or crop the CT."
    return "E_UNEXPECTED", f"{what}: {fault_of(error)}", "Please report this."


def _end_with_parent() -> None:
    """Whose results nobody would take does not work on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
