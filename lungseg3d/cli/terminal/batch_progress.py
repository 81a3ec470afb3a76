"""How a batch goes: bars with pace and time left on a terminal, one line a case elsewhere.

In: `BatchState`s. Out: text on stderr. Knows no journal.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lungseg3d.cli.terminal.console import complain

if TYPE_CHECKING:
    from rich.progress import Progress

    from lungseg3d.workflows.batch_state.records import BatchState

_MOST_BARS = 16
_SEARCH_LINE_S = 10.0


@contextlib.contextmanager
def batch_progress() -> Iterator[Callable[[BatchState], None]]:
    """A function to report with: bars on a terminal, else one line for each case that ends."""
    if not sys.stderr.isatty():
        yield _plain()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _bars(bars)


def _plain() -> Callable[[BatchState], None]:
    begun, next_line_s = False, _SEARCH_LINE_S

    def show(state: BatchState) -> None:
        nonlocal begun, next_line_s
        if state.searched is not None:
            if state.seconds >= next_line_s:
                next_line_s = state.seconds + _SEARCH_LINE_S
                complain(f"Looking for CTs: {state.searched} files so far, {duration_text(state.seconds)}")
            return
        if not begun:
            begun = True
            complain(f"{state.total} cases, {state.skipped} of them done before")
        if state.last is not None:
            complain(f"[{state.skipped + state.ended}/{state.total}] {_ended(state)}; {_pace(state)}")

    return show


def _bars(bars: Progress) -> Callable[[BatchState], None]:
    whole = bars.add_task("cases", total=None, note="")
    cases: dict[str, Any] = {}

    def show(state: BatchState) -> None:
        from rich.markup import escape

        if state.searched is not None:
            bars.update(whole, description="looking for CTs", note=f"{state.searched} files")
            return
        if state.last is not None and state.last.status != "done":
            bars.console.print(escape(_ended(state)), highlight=False)
        note = f"{state.skipped + state.ended}/{state.total}  {_pace(state)}"
        bars.update(whole, description="cases", total=state.total, completed=state.skipped + state.ended, note=note)
        for case_id in [case_id for case_id in cases if case_id not in state.running]:
            bars.remove_task(cases.pop(case_id))
        for case_id, (step, fraction) in list(state.running.items())[:_MOST_BARS]:
            if case_id not in cases:
                cases[case_id] = bars.add_task("", total=1.0, note="")
            bars.update(cases[case_id], description=escape(f"  {case_id}"), completed=fraction, note=step)

    return show


def _ended(state: BatchState) -> str:
    """What came of the case that ended last."""
    outcome = state.last
    assert outcome is not None
    if outcome.status == "done":
        found = outcome.measures.get("nodules", 0)
        seconds = sum(outcome.timings_s.values())
        return f"{outcome.case_id}: done, {found} nodule{'' if found == 1 else 's'}, {seconds:.1f} s"
    code = "W_NO_LUNG" if outcome.status == "no_lungs" else "E_"
    reason = next((f"{issue.code}: {issue.message}" for issue in outcome.issues if issue.code.startswith(code)), "")
    return f"{outcome.case_id}: {outcome.status}, {reason}"


def _pace(state: BatchState) -> str:
    bad = ", ".join(f"{count} {status}" for status, count in state.counts.items() if status != "done")
    if state.left_s is None:
        return bad
    an_hour = 3600 * state.ended / max(state.seconds, 1e-3)
    pace = f"{an_hour:.0f} an hour" if an_hour < 36000 else f"{an_hour / 3600:.0f} a second"
    return ", ".join(part for part in (bad, pace, f"{duration_text(state.left_s)} left") if part)


def duration_text(seconds: float) -> str:
    """`45 s`, `12 min`, `8 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
