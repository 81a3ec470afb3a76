"""How a training that cannot go on ends as a program: three lines and an exit code, no traceback.

In: an exception that a trainer raised. Out: a message on stderr and `SystemExit`. Knows no network.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from ignite.engine import Engine, Events

from lungseg3d.core import LungSegError, TrainingError

NOT_FINITE_EXIT, REFUSED_EXIT = 5, 3


class ExitCodes:
    """Handler of a trainer: a `TrainingError` ends the program with 5, another `LungSegError` with 3.

    So a loss that is not a number can be told from a crash (1) by whoever started `python -m monai.bundle run`.
    Ignite calls the handlers of an exception until one raises: this one always does, so it goes after handlers that
    only take note and before MONAI's StatsHandler, which would raise the error as it is.
    """

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EXCEPTION_RAISED, self)

    def __call__(self, engine: Any, error: BaseException) -> NoReturn:
        if not isinstance(error, LungSegError):
            raise error
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(NOT_FINITE_EXIT if isinstance(error, TrainingError) else REFUSED_EXIT) from error
