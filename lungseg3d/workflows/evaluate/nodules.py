"""Scores of nodules -> detection and outlines by size and texture, FROC, calibration, clinical bands.

In: `CaseScore`s, or their nodules with the patient. Out: parts of `summary.json`; None where nothing can be said.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lungseg3d.metrics import (
    BAND_BOUNDS,
    BAND_NAMES,
    LUNA16_RATES,
    ScanMatches,
    band_of,
    froc_curve,
    froc_interval,
    reliability,
)
from lungseg3d.metrics.means import mean_over_patients
from lungseg3d.metrics.size_groups import NODULE_EDGES_MM
from lungseg3d.workflows.evaluate.cases import CaseScore, NoduleScore

TEXTURES = {1: "ground glass", 2: "ground glass to part solid", 3: "part solid", 4: "part solid to solid", 5: "solid"}
"""LIDC ratings (Armato et al. 2011); 2 and 4 lie between."""
GRADES = (
    ("surgical planning", (("dice", 0.85, True), ("hd95_mm", 5.0, False))),
    ("volumetry", (("dice", 0.80, True), ("iou", 0.75, True))),
    ("detection", (("detection", 0.95, True),)),
)
"""Use, and what it asks of the nodules: name, bound, whether more is better."""
Rows = Sequence[tuple[str, NoduleScore]]
"""(patient, nodule)."""


def nodule_strata(rows: Rows) -> dict[str, Any]:
    """All nodules, and those of each size and texture."""
    edges = (-math.inf, *NODULE_EDGES_MM, math.inf)
    sizes = []
    for low, high in itertools.pairwise(edges):
        inside = [(patient, nodule) for patient, nodule in rows if low <= nodule.diameter_mm < high]
        name = f"below {high:g} mm" if math.isinf(low) else f"{low:g} mm and more" if math.isinf(high) else ""
        sizes.append({"name": name or f"{low:g} to {high:g} mm"} | _stratum(inside))
    textures = []
    for value, name in TEXTURES.items():
        inside = [(patient, nodule) for patient, nodule in rows if nodule.texture == value]
        textures.append({"name": name} | _stratum(inside, with_false=False))
    groups = {"by_size": sizes, "by_texture": textures}
    filled = {key: [one for one in strata if one["nodules"] + one["marks"]] for key, strata in groups.items()}
    return {"all": _stratum(rows), **filled}


def _stratum(rows: Rows, with_false: bool = True) -> dict[str, Any]:
    """Detection and segmentation of some nodules; a false one has no texture, so then precision is not defined."""
    wanted = [(patient, nodule) for patient, nodule in rows if nodule.outcome != "false"]
    found = [(patient, nodule) for patient, nodule in wanted if nodule.outcome == "found"]
    marks = [(patient, nodule) for patient, nodule in rows if nodule.outcome != "missed"] if with_false else []

    def mean(some: Rows, value: Callable[[NoduleScore], Any], **kind: Any) -> dict[str, float]:
        return mean_over_patients(((patient, float(value(nodule))) for patient, nodule in some), **kind)

    return {
        "nodules": len(wanted),
        "found": len(found),
        "marks": len(marks),
        "detection": mean(wanted, lambda nodule: nodule.outcome == "found", is_share=True),
        "precision": mean(marks, lambda nodule: nodule.outcome == "found", is_share=True),
        "dice": mean(wanted, lambda nodule: nodule.dice, within=(0, 1)),
        "iou": mean(wanted, lambda nodule: nodule.iou, within=(0, 1)),
        "dice_of_found": mean(found, lambda nodule: nodule.dice, within=(0, 1)),
        "hd95_mm": mean(found, lambda nodule: nodule.hd95_mm),
        "hd100_mm": mean(found, lambda nodule: nodule.hd100_mm),
    }


def froc_of(scores: Sequence[CaseScore]) -> dict[str, Any] | None:
    """By overlap, not by centre: the same nodules are found as everywhere else here. None without confidences."""
    matches = scan_matches(scores)
    if not any(match.marks for match in matches) or not any(len(match.found) for match in matches):
        return None
    curve = froc_curve(matches)
    low, high = froc_interval(matches, patients=[score.patient for score in scores])
    return {
        "false_positives_a_scan": list(LUNA16_RATES),
        "sensitivity": curve.sensitivity_at(),
        "sensitivity_low": low[:-1],
        "sensitivity_high": high[:-1],
        "cpm": curve.cpm,
        "cpm_low": low[-1],
        "cpm_high": high[-1],
        "curve": {"rate": curve.rate, "sensitivity": curve.sensitivity},
    }


def scan_matches(scores: Sequence[CaseScore], confidence: str = "confidence") -> list[ScanMatches]:
    """Confidences of found nodules and of false ones, for each case; nothing where a mark has no confidence.

    Args:
        scores: of the cases.
        confidence: which one, `confidence` or `calibrated_confidence`.
    """
    marks = [nodule for score in scores for nodule in score.nodules if nodule.outcome != "missed"]
    if any(getattr(nodule, confidence) is None for nodule in marks):
        return []
    matches = []
    for score in scores:
        wanted = [nodule for nodule in score.nodules if nodule.outcome != "false"]
        found = [math.nan if nodule.outcome == "missed" else getattr(nodule, confidence) for nodule in wanted]
        false = [getattr(nodule, confidence) for nodule in score.nodules if nodule.outcome == "false"]
        count = sum(nodule.outcome != "missed" for nodule in score.nodules)
        matches.append(ScanMatches(np.array(found, float), np.array(false, float), count))
    return matches


def confidence_of(scores: Sequence[CaseScore]) -> str:
    """`calibrated_confidence` where every mark has one, else `confidence`."""
    marks = [nodule for score in scores for nodule in score.nodules if nodule.outcome != "missed"]
    is_calibrated = bool(marks) and all(nodule.calibrated_confidence is not None for nodule in marks)
    return "calibrated_confidence" if is_calibrated else "confidence"


def calibration_of(rows: Rows) -> dict[str, Any] | None:
    """Of the calibrated confidence where every mark has one, else of the confidence; `of` says which."""
    marks = [(patient, n) for patient, n in rows if n.outcome != "missed" and n.confidence is not None]
    if not marks:
        return None
    is_calibrated = all(nodule.calibrated_confidence is not None for _, nodule in marks)
    of = "calibrated_confidence" if is_calibrated else "confidence"
    found = reliability(
        [float(getattr(nodule, of) or 0) for _, nodule in marks],
        [nodule.outcome == "found" for _, nodule in marks],
        groups=[patient for patient, _ in marks],
    )
    curve = {key: getattr(found, key) for key in ("edges", "confidence", "share", "counts", "ece", "low", "high")}
    return {"of": of, **curve}


def grades_of(nodules: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Whether the intervals of the nodules' means lie beyond the bounds of a use: a grade, not a claim.

    A bound is reached only when the worse end of the interval reaches it; without an interval nothing is decided.
    """
    grades = []
    for use, bounds in GRADES:
        parts, verdicts = [], []
        for name, bound, more_is_better in bounds:
            value = nodules["all"][name]
            low, high = (value["low"], value["high"]) if more_is_better else (-value["high"], -value["low"])
            limit = bound if more_is_better else -bound
            # Without an interval both are nan, and nothing is decided.
            verdicts.append("reached" if low >= limit else "not reached" if high < limit else "open")
            parts.append({"metric": name, "bound": bound, "more_is_better": more_is_better, **value})
        worst = next(verdict for verdict in ("not reached", "open", "reached") if verdict in verdicts)
        grades.append({"use": use, "verdict": worst, "parts": parts})
    return grades


def bands_of(nodules: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Which of the five bands of `lungseg3d.metrics.bands` each metric of all nodules reaches, by its interval.

    Distances are those of found nodules: missed ones have none.
    """
    rows = []
    for metric, bounds in BAND_BOUNDS.items():
        value = nodules["all"][metric]
        verdict = band_of(metric, value["low"], value["high"])
        about = {"reached": verdict.reached, "possible": verdict.possible}
        rows.append({"metric": metric, "names": list(BAND_NAMES), "bounds": list(bounds), **value, **about})
    return rows
