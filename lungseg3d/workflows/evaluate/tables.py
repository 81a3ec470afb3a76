"""The tables of an evaluation as CSV text: a row a case and structure, a row a nodule.

In: `CaseScore`s. Out: text, the same for the same input. Writes no file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lungseg3d.metrics.means import plain
from lungseg3d.report import csv_text
from lungseg3d.workflows.evaluate.cases import CaseScore, NoduleScore
from lungseg3d.workflows.evaluate.summary import METRICS


def case_scores_csv(scores: Sequence[CaseScore]) -> str:
    """One row a case and structure; a case that could not be evaluated has a row with its code."""
    rows: list[dict[str, Any]] = []
    columns = ("case_id", "patient", "structure", *METRICS, "reference_mm3", "predicted_mm3", "issue")
    for score in scores:
        common = {"case_id": score.case_id, "patient": score.patient}
        if score.issue is not None:
            rows.append(common | {"issue": score.issue.code})
        rows += [common | {"structure": name, **values} for name, values in score.structures.items()]
    return _csv(rows, columns)


def nodule_scores_csv(scores: Sequence[CaseScore]) -> str:
    """One row a nodule of the reference, found or missed, and one a false one."""
    columns = [field.name for field in dataclasses.fields(NoduleScore)]
    rows = [
        {"case_id": score.case_id, "patient": score.patient, **dataclasses.asdict(nodule)}
        for score in scores
        for nodule in score.nodules
    ]
    for row in rows:
        row["centre_ras_mm"] = " ".join(f"{mm:g}" for mm in row["centre_ras_mm"])
    return _csv(rows, ("case_id", "patient", *columns))


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    return csv_text(({key: plain(value) for key, value in row.items()} for row in rows), columns)
