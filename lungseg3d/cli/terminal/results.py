"""What was found, as a table for the terminal: one row a case.

In: the results of `segment` and where they were written. Out: a rich table, lines. Knows no workflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from lungseg3d.core import CaseResult

_STYLES = {"done": "green", "refused": "yellow", "no_lungs": "yellow", "failed": "red"}


def results_table(results: Sequence[CaseResult]) -> Table:
    """One row a case: status, nodules, lung volumes, seconds; measures where there are any.

    Of nodules: how many are listed, candidates, long axis of the largest listed one.

    Args:
        results: as `segment_cases` returns them.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case", no_wrap=True, overflow="ellipsis", max_width=32)
    table.add_column("status", no_wrap=True)
    is_measured = any(result.status == "done" for result in results)
    for title in (
        ("nodules", "candi-\ndates", "largest\nmm", "right lung\nml", "left lung\nml", "time\ns") if is_measured else ()
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for result in results:
        status = Text(result.status, style=_STYLES.get(result.status, ""))
        table.add_row(Text(result.case_id), status, *(_measures(result) if is_measured else ()))
    return table


def result_lines(results: Sequence[CaseResult], out: Path) -> list[str]:
    """A line for each case: its report, or why there is none. No table, which would break a path to fit its column.

    Args:
        results: as `segment_cases` returns them.
        out: the folder that holds a folder for each case.
    """
    return [f"{result.case_id}: {_report_or_reason(result, out)}" for result in results]


def _measures(result: CaseResult) -> tuple[str, ...]:
    if result.status != "done":
        return ("",) * 6
    lungs_ml = {lung.name: f"{lung.volume_ml:.0f}" for lung in result.lungs}
    largest_mm = max((nodule.long_axis_mm for nodule in result.nodules), default=None)
    return (
        str(len(result.nodules)),
        str(len(result.candidates)),
        "-" if largest_mm is None else f"{largest_mm:.1f}",
        lungs_ml.get("right_lung", "-"),
        lungs_ml.get("left_lung", "-"),
        f"{sum(result.timings_s.values()):.1f}",
    )


def _report_or_reason(result: CaseResult, out: Path) -> str:
    """Where the report is, and what puts the result in doubt; of a case that stopped, why."""
    if result.status in ("done", "no_lungs"):
        from lungseg3d.io import CaseFolder

        doubts = [f"{issue.code}: {issue.message}" for issue in result.issues if issue.is_serious]
        return "\n".join([str(CaseFolder(out / result.case_id).report), *doubts])
    reasons = [issue for issue in result.issues if issue.code.startswith("E_")]
    return " ".join(f"{issue.code}: {issue.message} {issue.remedy}".strip() for issue in reasons)
