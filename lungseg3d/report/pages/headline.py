"""What a reader of a case learns first: how many nodules are listed, the most important one, and what the list costs.

In: a `CaseResult`. Out: a `Headline` of plain sentences. Knows no picture and no markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lungseg3d.core import CANDIDATE_REASONS, CaseResult, LowConfidence, Nodule
from lungseg3d.report.pages.nodule_rows import confidence_text
from lungseg3d.report.plots.numbers import number_text

_NO_POINT = "No operating point: the nodule bundle has no calibration, so everything that was found is listed."
_PLACES = "Only the places that a person named were outlined: this is no statement about nodules elsewhere."
_TITLES = {
    "min-confidence": "Listed by the least confidence that was asked for",
    "settings": "Listed as the settings file says",
}
_NONE_AT_POINT = "No nodule at this operating point."
_NONE_LISTED = {
    "none": "No nodule listed.",
    "min-confidence": "No nodule of the confidence that was asked for.",
    "settings": "No nodule of the confidence that was asked for.",
}
_REASONS = {
    "below-point": "less sure than the operating point asks for",
    "outside-lungs": "mostly outside the lungs",
    "hilar-vessel": "part of a vessel of the hilum",
}
"""The reasons of several candidates, behind their number."""


@dataclass(frozen=True)
class Headline:
    """The first lines of a report.

    Attributes:
        count: how many nodules are listed, and on which side; or that there are none.
        leading: the most important nodule of the list; None where nothing is listed.
        label: why it leads: `Most important` of those that are not of low confidence, `Surest` where all are, `Largest`
            in records of schema 1; empty where it is the only one.
        leading_text: the same in words: place, kind, size, confidence.
        candidates, candidates_why: how many findings are kept beside the list, such as `3 further candidates`, and the
            rest of the sentence; empty where there are none.
        operating_point: from which confidence findings are listed, and what that costs; empty in records of schema 1.
        names_thirds: some nodule or candidate has a place by thirds, which the page explains once.
    """

    count: str
    leading: Nodule | None
    label: str
    leading_text: str
    candidates: str
    candidates_why: str
    operating_point: str
    names_thirds: bool

    @staticmethod
    def of(result: CaseResult, low: LowConfidence) -> Headline:
        """The headline of a case in which nodules were looked for.

        Args:
            result: its record.
            low: which nodules are of low confidence. What the program hardly believes does not stand first.
        """
        is_listed = bool(result.operating_point)  # otherwise schema 1: everything that was found, the largest first
        sure = [nodule for nodule in result.nodules if not low.reason(nodule)] if is_listed else []
        leading = most_important(sure) or next(iter(result.nodules), None)
        label = "" if len(result.nodules) == 1 else "Most important" if sure else "Surest"
        candidates, why = _candidates(result)
        return Headline(
            count=_count(result),
            leading=leading,
            label=label if is_listed else "Largest",
            leading_text=nodule_text(leading) if leading else "",
            candidates=candidates,
            candidates_why=why,
            operating_point=operating_point_text(result.operating_point),
            names_thirds=any(nodule.position.third != "unknown" for nodule in result.findings),
        )


def most_important(nodules: Sequence[Nodule]) -> Nodule | None:
    """The nodule of the highest Lung-RADS category by size, of several the longest; None without nodules."""
    return max(nodules, key=lambda one: (one.size_classes.lung_rads_by_diameter, one.long_axis_mm), default=None)


def nodule_text(nodule: Nodule) -> str:
    """Place, kind, size, size category and confidence of a nodule in words; what is unknown is left out."""
    axes = " × ".join(number_text(length, 1) for length in (nodule.long_axis_mm, nodule.diameters.perpendicular_mm))
    volume = number_text(nodule.volume_mm3, 0 if nodule.volume_mm3 >= 100 else 1)
    name, confidence = confidence_text(nodule)
    parts = [
        f"{nodule.side} lung" if nodule.side != "unknown" else "",
        f"{nodule.position.third} third" if nodule.position.third != "unknown" else "",
        nodule.kind,
        f"{axes}\u00a0mm",
        f"{volume}\u00a0mm³",
        _lung_rads(nodule),
        f"{name} {confidence}" if name else "",
    ]
    return ", ".join(part for part in parts if part)


def operating_point_text(point: Mapping[str, Any]) -> str:
    """From which confidence findings are listed and what that costs, as far as the record says it.

    Args:
        point: `CaseResult.operating_point`.
    """
    name = str(point.get("name", ""))
    if not name:
        return ""
    if name in ("none", "places"):
        return _NO_POINT if name == "none" else _PLACES
    costs = [text for text in (_false_findings(point), _sensitivity(point)) if text]
    title = _TITLES.get(name, f"Operating point {name}")
    return f"{title}: {'; '.join(costs or [least_confidence_text(point)])}."


def least_confidence_text(point: Mapping[str, Any]) -> str:
    """`confidence from 0.35 (ground-glass 0.20)`: the bound of solid nodules, and the kinds that have another one."""
    least = dict(point.get("least_confidence") or {})
    if not least:
        raw = point.get("least_raw_confidence")
        return "no least confidence" if raw is None else f"uncalibrated confidence from {number_text(raw, 2)}"
    usual = number_text(least.get("solid", next(iter(least.values()))), 2)
    bounds = {kind.replace("large-", "large "): number_text(value, 2) for kind, value in least.items()}
    others = [f"{kind} {bound}" for kind, bound in bounds.items() if bound != usual]
    return f"confidence from {usual}" + (f" ({', '.join(others)})" if others else "")


def reasons_text(candidates: Sequence[Nodule]) -> str:
    """`3 less sure than the operating point asks for, 1 mostly outside the lungs`."""
    counts = Counter(nodule.reason for nodule in candidates)
    return ", ".join(f"{counts[key]} {_REASONS.get(key, key)}" for key in sorted(counts, key=_place_of_reason))


def _count(result: CaseResult) -> str:
    point = result.operating_point
    if result.places and not result.nodules:
        return "Nothing was outlined at the places that were named."
    if not result.nodules:
        return _NONE_LISTED.get(point["name"], _NONE_AT_POINT) if point and result.candidates else "No nodules found."
    count = f"{len(result.nodules)} nodule{'' if len(result.nodules) == 1 else 's'}"
    if not point:
        return f"{count}."
    sides = Counter(nodule.side for nodule in result.nodules)
    if len(result.nodules) == 1 or sides["right"] + sides["left"] < len(result.nodules):
        return f"{count} listed."
    if len(sides) == 1:
        return f"{count} listed, all in the {next(iter(sides))} lung."
    return f"{count} listed: {sides['right']} in the right lung, {sides['left']} in the left."


def _candidates(result: CaseResult) -> tuple[str, str]:
    found = result.candidates
    if not found:
        return "", ""
    plural, verb = ("", "is") if len(found) == 1 else ("s", "are")
    if any(nodule.reason != "below-point" for nodule in found):
        further = "further " if result.nodules else ""
        return f"{len(found)} {further}candidate{plural}", f" {verb} kept below: {reasons_text(found)}."
    unsure = "further, less sure " if result.nodules else "less sure "
    return f"{len(found)} {unsure}candidate{plural}", f" {verb} kept below."


def _place_of_reason(reason: str) -> tuple[int, str]:
    """Reasons in the order of `CANDIDATE_REASONS`, behind them those that this version does not know."""
    known = list(CANDIDATE_REASONS)
    return known.index(reason) if reason in known else len(known), reason


def _lung_rads(nodule: Nodule) -> str:
    by_diameter, by_volume = nodule.size_classes.lung_rads_by_diameter, nodule.size_classes.lung_rads_by_volume
    if not by_diameter or by_volume in ("", by_diameter):
        return f"Lung-RADS {by_diameter} by size" if by_diameter else ""
    return f"Lung-RADS {by_diameter} by diameter and {by_volume} by volume"


def _false_findings(point: Mapping[str, Any]) -> str:
    value = _value_of(point.get("false_findings_a_scan"))
    if value is None:
        return ""
    number = f"{value:.1f}".removesuffix(".0") if value >= 0.1 else f"{value:.2g}"
    return f"about {number} false finding{'' if number == '1' else 's'} a scan"


def _sensitivity(point: Mapping[str, Any]) -> str:
    """`finds 85 % (80 to 89 %) of nodules from 4 mm on its test population`."""
    found = point.get("sensitivity")
    value = _value_of(found)
    if value is None:
        return ""
    low, high = (found.get(key) if isinstance(found, Mapping) else None for key in ("low", "high"))
    interval = f" ({100 * low:.0f} to {100 * high:.0f}\u00a0%)" if low is not None and high is not None else ""
    least_mm = point.get("size_floor_mm")
    size = f" from {least_mm:g}\u00a0mm" if isinstance(least_mm, (int, float)) else ""
    return f"finds {100 * value:.0f}\u00a0%{interval} of nodules{size} on its test population"


def _value_of(measure: Any) -> float | None:
    value = measure.get("value") if isinstance(measure, Mapping) else measure
    return float(value) if isinstance(value, (int, float)) else None
