"""What the program says: results on stdout, progress and complaints on stderr.

In: text, tables, steps with a fraction done.
Out: lines that survive a closed pipe; bars on a terminal, plain lines elsewhere.
Knows no verb.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

    from lungseg3d.core.progress import OnProgress  # which would load numpy, for a line of text


def say(text: str) -> None:
    """Print on stdout; when the reader of the pipe has gone, the work goes on in silence."""
    _write(sys.stdout, text)


def complain(text: str) -> None:
    """Print on stderr, in the same way."""
    _write(sys.stderr, text)


def say_table(table: Any) -> None:
    """Print a rich table on stdout, as wide as the terminal, or 120 columns where there is none."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)
    with console.capture() as captured:
        console.print(table)
    say(captured.get().rstrip("\n"))


def terminal_interval(values: Mapping[str, float | None], digits: int = 3) -> str:
    """`mean (low-high)` of a table with these keys; the mean alone where there is no interval."""
    mean, low, high = (terminal_number(values[key], digits) for key in ("mean", "low", "high"))
    return mean if values["low"] is None else f"{mean} ({low}-{high})"


def terminal_number(value: float | None, digits: int) -> str:
    """A number of a table; a dash for one that is not defined."""
    return "–" if value is None else f"{value:.{digits}f}"


def allow_any_text() -> None:
    r"""Have stdout and stderr show what their encoding lacks as escapes, such as `\u80ba`, instead of failing.

    A terminal without UTF-8 (LC_ALL=C, PYTHONIOENCODING=ascii, a log of a cluster) meets names of cases in any script.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _write(stream: TextIO, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # Also a name that is no text in the file system's encoding (a surrogate) is shown.
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        # Whatever is still in the buffer must have somewhere to go, or Python complains at exit.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)


@contextlib.contextmanager
def progress() -> Iterator[OnProgress]:
    """A function to report with: (what, step, fraction 0 to 1 of what). Bars on a terminal, else one line a step."""
    if not sys.stderr.isatty():
        yield _plain_progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        yield _bars_progress(bars)


def _plain_progress() -> OnProgress:
    last: dict[str, str] = {}  # of each, as several may run at once

    def on_progress(what: str, step: str, fraction: float) -> None:
        if last.get(what) != step:
            last[what] = step
            complain(f"{what}: {step}" if what else step)

    return on_progress


def _bars_progress(bars: Progress) -> OnProgress:
    tasks: dict[str, Any] = {}

    def on_progress(what: str, step: str, fraction: float) -> None:
        from rich.markup import escape

        if what not in tasks:
            # Only what still moves: hundreds of cases are taller than a terminal.
            for earlier in tasks.values():
                bars.update(earlier, visible=False)
            tasks[what] = bars.add_task("", total=1.0)
        title = f"{what}: {step}" if what else step
        bars.update(tasks[what], description=escape(title), completed=min(max(fraction, 0.0), 1.0), visible=True)

    return on_progress
