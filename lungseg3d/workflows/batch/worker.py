"""One worker process of this machine: it opens the models once and does one case at a time.

In: tasks, through a pipe. Out: messages, and why it died. Whatever it prints goes to its parent, not to the terminal.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

from lungseg3d.io import ending_of, kernel_kills, limit_memory
from lungseg3d.workflows.batch.pool import START_LIMIT_S, Limits, worker_issue
from lungseg3d.workflows.batch_state.case import Segmenter, Task, do_task

_MOST_LOG_BYTES = 65536


class Worker:
    """A process and the pipes to it.

    Args:
        context: of `multiprocessing`, which starts it.
        segmenter: what it opens.
        limits: of each case.
    """

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

    def messages(self) -> list[tuple[Any, ...]]:
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
        issue = worker_issue(error, "the models")
        pipe.send(("broken", issue.code, issue.message, issue.remedy))
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
            pipe.send(("lost", worker_issue(error, task.case_id)))
        else:
            pipe.send(("outcome", outcome))


def _end_with_parent() -> None:
    """Whose results nobody would take does not work on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
