"""How a verb ends: exit codes, and errors as people read them.

In: whatever a verb returns or raises. Out: an exit code, and at most three lines on stderr.
Knows no verb.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from enum import IntEnum
from typing import Any

import typer

from lungseg3d.cli.terminal.console import complain
from lungseg3d.cli.terminal.quiet import quieten

DEBUG: ContextVar[bool] = ContextVar("debug", default=False)
"""True after `--debug`: tracebacks are shown and nothing is quieted."""


_OPTIONS: ContextVar[frozenset[str]] = ContextVar("options", default=frozenset())


class ExitStatus(IntEnum):
    """Exit codes of the program, the same for every verb."""

    DONE = 0
    FAULT = 1
    USAGE = 2
    NONE_DONE = 3
    NOT_FINITE = 5
    SOME_DONE = 8
    STOPPED = 130
    TERMINATED = 143


EXIT_CODES = """Exit codes:
  0  all done
  8  some cases refused, failed or without lungs, the others are done
  3  none could be done; check: the input is refused
  5  train: the loss became NaN or infinite; the last checkpoint is good
  2  wrong usage
  1  a fault of the program itself
130  stopped by Ctrl-C; 143 by SIGTERM"""


def outcome_of(statuses: Iterable[str]) -> ExitStatus:
    """The exit code of cases that are `done`, `no_lungs`, `refused` or `failed`; no case at all is `NONE_DONE`."""
    done = [status == "done" for status in statuses]
    if done and all(done):
        return ExitStatus.DONE
    return ExitStatus.SOME_DONE if any(done) else ExitStatus.NONE_DONE


def reporting_errors(verb: Callable[..., int | None]) -> Callable[..., None]:
    """A verb of the program: its result becomes the exit code, its errors become lines on stderr.

    A `LungSegError` is shown as its code, message and remedy; Ctrl-C says so; anything else is one line and the way to
    its traceback, or the traceback itself after `--debug`. Its paragraphs flow in `--help`.
    """

    @functools.wraps(verb)
    def reported(*args: Any, **kwargs: Any) -> None:
        if not DEBUG.get():
            quieten()
        try:
            with _offering_its_options():
                code = verb(*args, **kwargs) or ExitStatus.DONE
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            complain("Stopped by Ctrl-C.")
            code = ExitStatus.STOPPED
        except Exception as error:
            code = _report(error)
        raise typer.Exit(int(code))

    # typer keeps the line breaks of a docstring behind its first paragraph.
    reported.__doc__ = "\n\n".join(" ".join(part.split()) for part in (verb.__doc__ or "").split("\n\n"))
    return reported


def note_options(context: typer.Context) -> None:
    """Remember which options the verb has that is about to run: `context` is that of the group which it belongs to."""
    group: Any = context.command
    verb = group.get_command(context, context.invoked_subcommand) if context.invoked_subcommand else None
    words = (word for p in getattr(verb, "params", ()) for word in (*p.opts, *p.secondary_opts))
    _OPTIONS.set(frozenset(word for word in words if word.startswith("--")))


def _offering_its_options() -> AbstractContextManager[None]:
    """Remedies name options of the verb that runs, and no others."""
    from lungseg3d.core.remedies import offering

    return offering(_OPTIONS.get())


def _report(error: Exception) -> ExitStatus:
    from lungseg3d.core import LungSegError, UsageError

    if DEBUG.get():
        raise error
    if isinstance(error, LungSegError):
        complain("\n".join(str(error).splitlines()[:3]))
        return ExitStatus.USAGE if isinstance(error, UsageError) else ExitStatus.NONE_DONE
    said = " ".join(str(error).split())
    complain(f"Error: {type(error).__name__}: {said[:300]}\nRun again with --debug for the traceback.")
    return ExitStatus.FAULT


def with_debug_first(arguments: list[str]) -> list[str]:
    """The command line with `--debug` where the program expects it, wherever it was written."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--debug" not in options:
        return arguments
    rest = list(arguments)
    rest.remove("--debug")
    return ["--debug", *rest]
