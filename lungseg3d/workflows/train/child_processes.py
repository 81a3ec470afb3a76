"""Processes that work for this one: run, watched, ended in order, and why one failed.

In: command lines. Out: exit codes, logs, one line for people. None is left behind.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lungseg3d.core.errors import hide_paths, one_line
from lungseg3d.io import open_to_append

TRAINING_COMMAND = (sys.executable, "-m", "lungseg3d.workflows.train.process")
"""Trains by a task on its standard input, see `lungseg3d.workflows.train.process.training_task`."""
_POLL_S = 0.2
_PATIENCE_S = 15.0
"""How long a child may take to end when it is told to."""
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|MemoryError|std::bad_alloc", re.IGNORECASE)
_REASON = re.compile(r"\b(E_[A-Z_]+|[A-Za-z_.]*(?:Error|Exception)): .+")


class Children:
    """The processes that run now; none starts after `end`."""

    def __init__(self, environment: Mapping[str, str], keep_open: Sequence[int]) -> None:
        self.environment, self.keep_open = dict(environment), tuple(keep_open)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def run(self, words: Sequence[str], log: Path, watch: Callable[[], None], task: bytes = b"") -> int:
        """Run a command, its output appended to `log`; `watch` is called every now and then.

        Args:
            words: the command.
            log: gets the command and what it prints.
            watch: called every now and then.
            task: of a training that is equal to the command, see `training_task`: it runs instead, without reading
                the bundle's files again.

        Returns:
            Its exit code.
        """
        with open_to_append(log) as output:
            output.write(f"$ {shlex.join(['python', *words[1:]])}\n".encode())
            with self._lock:
                if self._ended:
                    raise KeyboardInterrupt
                # A session of its own: Ctrl-C reaches this process alone, which then ends them in order.
                child = subprocess.Popen(
                    TRAINING_COMMAND if task else words,
                    stdin=subprocess.PIPE if task else subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    start_new_session=True,
                    pass_fds=self.keep_open,
                )
                self._running.add(child)
        try:
            give(child, task)
            while True:
                try:
                    code = child.wait(timeout=_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    watch()
        finally:
            _end(child)
            with self._lock:
                self._running.discard(child)
        if self._ended:
            raise KeyboardInterrupt
        return code

    def end(self) -> None:
        """End every process, gently at first."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for child in running:
            child.terminate()
        for child in running:
            _end(child)


def give(child: subprocess.Popen[bytes], task: bytes) -> None:
    """Write a task to a process that waits for it; one that has ended meanwhile will say why."""
    if child.stdin is not None:
        with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
            pipe.write(task)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a process, gently at first; does nothing to one that has ended."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class sigterm_as_interrupt:  # noqa: N801 - read as a function: `with sigterm_as_interrupt():`
    """While it lasts, SIGTERM is a KeyboardInterrupt: a comparison that is ended leaves no training behind."""

    def __enter__(self) -> None:
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._interrupt)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _interrupt(*_: object) -> None:
        raise KeyboardInterrupt


def reason_of(exit_code: int, log: str) -> str:
    """Why a process failed, for people: its exit code, and the last error in its log, in one line and without paths."""
    log = hide_paths(log)  # for it goes to a page
    errors = [match.group(0) for match in _REASON.finditer(log)]
    last = errors[-1] if errors else next((line for line in reversed(log.splitlines()) if line.strip()), "no output")
    if exit_code < 0:
        name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else f"signal {-exit_code}"
        often = ", often for want of memory" if name == "SIGKILL" else ""
        return f"killed by {name}{often}"
    if memory := _OUT_OF_MEMORY.search(log):
        return one_line(
            f"out of memory (exit code {exit_code}): {last if memory.group(0) in last else memory.group(0)}"
        )
    return one_line(f"exit code {exit_code}: {last}")
