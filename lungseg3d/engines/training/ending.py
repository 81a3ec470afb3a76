"""How a training that cannot go on ends as a program: three lines and an exit code, no traceback.

In: an exception that a trainer raised. Out: a message on stderr and `SystemExit`. Knows no network.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any, NoReturn

from ignite.engine import Engine, Events

from lungseg3d.core import LungSegError, TrainingError

NOT_FINITE_EXIT, REFUSED_EXIT, STOPPED_EXIT = 5, 3, 130
LOCK_HANDLE = "LUNGSEG3D_TRAINING_LOCK"
"""Environment variable of a process that `lungseg3d train` started: file descriptor of the lock that both hold."""


class ExitCodes:
    """Handler of a trainer: a `TrainingError` ends the program with 5, another `LungSegError` with 3.

    A training that a signal stops says by which line it goes on, unless `lungseg3d train` started it and says so.

    So a loss that is not a number can be told from a crash (1) by whoever started `python -m monai.bundle run`.
    Ignite calls the handlers of an exception until one raises: this one always does, so it goes after handlers that
    only take note and before MONAI's StatsHandler, which would raise the error as it is.
    """

    def attach(self, engine: Engine) -> None:
        """Register with a trainer or an evaluator."""
        engine.add_event_handler(Events.EXCEPTION_RAISED, self)

    def __call__(self, engine: Any, error: BaseException) -> NoReturn:
        if isinstance(error, LungSegError):
            end_refused(error)
        is_stopped = isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and _is_signal(error.code))
        if is_stopped and LOCK_HANDLE not in os.environ:
            print(
                f"The training was stopped. By this line it goes on:\n  {line_to_go_on()}", file=sys.stderr, flush=True
            )
        raise error


def end_refused(error: LungSegError) -> NoReturn:
    """Show an error as people read it, and leave with its exit code.

    Raises:
        SystemExit: 5 for a `TrainingError`, else 3.
    """
    print(error, file=sys.stderr, flush=True)
    raise SystemExit(NOT_FINITE_EXIT if isinstance(error, TrainingError) else REFUSED_EXIT) from error


def line_to_go_on() -> str:
    """The command line of this process, for a shell: a bundle's training started again by it goes on."""
    module = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", "")
    program = ["python", "-m", module.removesuffix(".__main__")] if module else ["python", sys.argv[0]]
    return shlex.join([*program, *sys.argv[1:]])


def _is_signal(code: object) -> bool:
    """Whether an exit code is that of a process which a signal stopped, as shells count."""
    return isinstance(code, int) and code > 128
