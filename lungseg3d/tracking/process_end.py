"""How a process ends: told to whoever has something to close, however it ends, short of kill -9.

In: a function of the outcome. Out: one call, with `KILLED` after SIGTERM or Ctrl-C, `FAILED` otherwise. Knows no run.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ProcessEnd:
    """Calls `close(outcome)` when the process ends before `cancel` was called.

    SIGTERM becomes `SystemExit(143)`, so that everything is unwound and files are closed; a handler that was there
    before is called instead. Outside the main thread signals cannot be seen, and only the end itself is.

    Args:
        close: called once with `KILLED` or `FAILED`, at the very end.
    """

    def __init__(self, close: Callable[[str], None]) -> None:
        self._close, self._outcome, self._process = close, "FAILED", os.getpid()
        self._before: dict[int, Any] = {}
        atexit.register(self._at_exit)
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)

    @property
    def outcome(self) -> str:
        """`KILLED` once a signal has come, else `FAILED`."""
        return self._outcome

    def cancel(self) -> None:
        """Everything is closed already: put the signal handlers back."""
        atexit.unregister(self._at_exit)
        for number, before in self._before.items():
            # == and not `is`: a bound method is a new object each time it is looked up.
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, before)
        self._before.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        before = self._before.get(number, signal.SIG_DFL)
        if os.getpid() != self._process:  # a forked worker: not ours to close
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if before == signal.SIG_IGN:
            return
        if number == signal.SIGTERM and self._outcome == "KILLED":  # cluster managers signal parent and child alike
            return
        self._outcome = "KILLED"
        if callable(before):
            before(number, frame)
        else:
            raise SystemExit(128 + number)

    def _at_exit(self) -> None:
        if os.getpid() == self._process:
            self._close(self._outcome)
