"""What is left of a case that was refused or failed: a record and a page that say why.

In: the reason. Out: `result.json` and `report.html`. Loads no torch: a batch writes them for workers that died.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from lungseg3d.core import CaseResult, OutputError, QualityIssue
from lungseg3d.io import CaseFolder, placing_together, write_text
from lungseg3d.report import render_refusal, result_json

logger = logging.getLogger(__name__)


def write_stopped(
    case_id: str, status: str, issue: QualityIssue, folder: Path, extras: Collection[str] = ()
) -> CaseResult:
    """The record of a case that came to nothing, written where its results would be; masks that lay there go.

    Args:
        case_id: its name.
        status: `refused` or `failed`.
        issue: why.
        extras: further files that a result may have.
        folder: made when it is missing. Where it cannot be written a warning is logged, and nothing raised.
    """
    result = CaseResult(case_id, status, issues=(issue,), files=(CaseFolder.RECORD, CaseFolder.REPORT))
    try:
        stale = (*CaseFolder.MASKS, CaseFolder.TABLE, *extras)
        with placing_together(folder, last=CaseFolder.RECORD, stale=stale) as stage:
            write_text(stage / CaseFolder.REPORT, render_refusal(result))
            write_text(stage / CaseFolder.RECORD, result_json(result))
    except OutputError:
        logger.warning("%s: its record could not be written", case_id)
    return result
