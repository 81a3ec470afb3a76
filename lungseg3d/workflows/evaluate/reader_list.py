"""What the list of nodules is worth, that a reader sees first: nodules in it, and false findings a scan.

In: `CaseScore`s. Out: the entry `list` of `summary.json`; a warning where lists were made in several ways. All other
entries judge everything that was found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lungseg3d.core import QualityIssue
from lungseg3d.metrics.means import mean_over_patients
from lungseg3d.workflows.evaluate.cases import CaseScore, NoduleScore

_KNOWN_OF_POINT = ("name", "least_confidence")
_EVERYTHING = "everything that was found"


def list_of(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """Numbers of the listed findings; a nodule of the reference is listed where the finding that it is paired with is.

    Args:
        scores: of the cases that were evaluated.

    Returns:
        `points`: by what the lists were made, each with its number of cases (an empty name: everything is listed);
        `listed`, `true` and `false`: findings of the lists; `nodules`: of the reference; `candidates` and
        `nodules_among_candidates`: what is behind the lists; `listed_a_scan`, `false_findings_a_scan` and
        `sensitivity`: mean, n and 95 % interval over patients.
    """
    marks = [nodule for score in scores for nodule in score.nodules if nodule.outcome != "missed"]
    wanted = [(score.patient, nodule) for score in scores for nodule in score.nodules if nodule.outcome != "false"]
    listed = [nodule for nodule in marks if nodule.is_listed]
    true = sum(nodule.outcome == "found" for nodule in listed)
    behind = [nodule for nodule in marks if not nodule.is_listed]
    return {
        "points": points_of(scores),
        "listed": len(listed),
        "true": true,
        "false": len(listed) - true,
        "nodules": len(wanted),
        "candidates": len(behind),
        "nodules_among_candidates": sum(nodule.outcome == "found" for nodule in behind),
        "listed_a_scan": _a_scan(scores, lambda nodule: True),
        "false_findings_a_scan": _a_scan(scores, lambda nodule: nodule.outcome == "false"),
        "sensitivity": mean_over_patients(
            ((patient, float(bool(nodule.is_listed))) for patient, nodule in wanted), is_share=True
        ),
    }


def points_of(scores: Sequence[CaseScore]) -> list[dict[str, Any]]:
    """By what the lists of cases were made, in the order of the cases, with the number of cases."""
    found: dict[str, dict[str, Any]] = {}
    for score in scores:
        is_cut = score.point.get("name") not in (None, "", "none")
        point = {key: score.point.get(key) for key in _KNOWN_OF_POINT if is_cut and score.point.get(key)}
        about = {"name": "", **point, "cases": 0}
        found.setdefault(json.dumps(point, sort_keys=True), about)["cases"] += 1
    return list(found.values())


def mixed_issue(scores: Sequence[CaseScore]) -> QualityIssue | None:
    """W_MIXED_LISTS where the cases' lists were not made by one operating point."""
    points = points_of([score for score in scores if score.issue is None])
    if len(points) < 2:
        return None
    counted = ", ".join(f"{point_text(point)} in {point['cases']}" for point in points)
    text = (
        f"the lists of nodules were made in several ways: {counted}. Numbers of the list are of all of them together."
    )
    remedy = "Segment all cases at one operating point[, or give --operating-point to list the findings anew here]."
    return QualityIssue("W_MIXED_LISTS", text, remedy)


def point_texts(content: Mapping[str, Any]) -> list[str]:
    """By what the lists of a `summary.json` were made, with the number of cases where there are several."""
    points = content["list"]["points"] if content["list"] else []
    return [point_text(p) if len(points) == 1 else f"{point_text(p)} in {p['cases']} scans" for p in points]


def point_text(point: Mapping[str, Any]) -> str:
    """An operating point in words, such as `default (0.23 solid, 0.17 ground-glass)`."""
    if not point["name"]:
        return _EVERYTHING
    least = point.get("least_confidence") or {}
    values = least.items() if isinstance(least, Mapping) else [("", least)]
    listed = ", ".join(f"{value:.2f} {kind}".strip() for kind, value in values if isinstance(value, (int, float)))
    return f"{point['name']} ({listed})" if listed else str(point["name"])


def _a_scan(scores: Sequence[CaseScore], is_counted: Callable[[NoduleScore], bool]) -> dict[str, float]:
    """Mean number of listed findings of a kind."""
    return mean_over_patients(
        (score.patient, float(sum(bool(nodule.is_listed) and is_counted(nodule) for nodule in score.nodules)))
        for score in scores
    )
