"""Scores of many cases -> means with intervals, detection by size and texture, FROC, agreement, calibration, grades.

In: `CaseScore`s. Out: the content of `summary.json`. Writes no file.

The unit of every interval is the patient: what belongs to one patient is resampled together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lungseg3d.core.labels import LUNGS, NODULE
from lungseg3d.metrics import (
    LUNA16_RATES,
    Interval,
    ScanMatches,
    bland_altman,
    bootstrap_ratio,
    correlation,
    froc_curve,
    froc_interval,
    intraclass_correlation,
    paired_test,
    reliability,
)
from lungseg3d.workflows.compare_sizes import NODULE_EDGES_MM
from lungseg3d.workflows.evaluate_cases import CaseScore, NoduleScore

METRICS = (
    "dice",
    "iou",
    "sensitivity",
    "ppv",
    "specificity",
    "accuracy",
    "hd95_mm",
    "mean_surface_distance_mm",
    "nsd_1mm",
    "nsd_2mm",
    "volume_error",
)
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


def summary_of(scores: Sequence[CaseScore], **facts: Any) -> dict[str, Any]:
    """Everything that is known of all cases.

    Args:
        scores: of all cases, those that could not be evaluated included.
        **facts: further entries, such as manifest and split.

    Returns:
        `structures`: name -> metric -> mean, low, high, n (values), defined over cases; `nodules`, `froc`,
        `calibration`, `agreement`, `grades`: None where nothing of the kind can be said; `failed`. What is not defined
        is None.
    """
    done = [score for score in scores if score.issue is None]
    names = list(dict.fromkeys(name for score in done for name in score.structures))
    rows = [(score.patient, nodule) for score in done for nodule in score.nodules]
    judged = NODULE.name in names
    content = {
        "schema_version": 1,
        **facts,
        "cases": len(scores),
        "evaluated": len(done),
        "patients": len({score.patient for score in done}),
        "failed": [_failure(score) for score in scores if score.issue is not None],
        "structures": {name: {metric: _over_cases(done, name, metric) for metric in METRICS} for name in names},
        "nodules": _nodules(rows) if judged else None,
        "froc": _froc(done) if judged else None,
        "calibration": _calibration(rows) if judged else None,
        "agreement": _agreement(done, rows, names),
    }
    return plain(content | {"grades": _grades(content["nodules"]) if judged else None})


def paired_comparison(scores: Sequence[CaseScore], others: Sequence[CaseScore]) -> dict[str, Any]:
    """This prediction against another, case by case, on the cases that both have.

    Returns:
        Structure -> metric -> mean difference (this - other), its interval, n, and p of Wilcoxon's test; and the same
        of `nodules` for the Dice of every nodule of the reference.
    """
    ours, theirs = ({score.case_id: score for score in side if score.issue is None} for side in (scores, others))
    both = [case_id for case_id in ours if case_id in theirs]
    names = list(dict.fromkeys(name for case_id in both for name in ours[case_id].structures))

    def tested(pairs: Iterable[tuple[float | None, float | None]]) -> dict[str, float]:
        known = [(math.nan if a is None else a, math.nan if b is None else b) for a, b in pairs]
        test = paired_test([a for a, _ in known], [b for _, b in known])
        return _interval(test.difference) | {"p": test.p}

    structures = {
        name: {
            metric: tested((ours[i].structures[name][metric], theirs[i].structures[name][metric]) for i in both)
            for metric in METRICS
        }
        for name in names
    }
    dices: list[tuple[float | None, float | None]] = []
    for case_id in both:
        one, two = ({n.reference_id: n.dice for n in side[case_id].nodules} for side in (ours, theirs))
        dices += [(value, two[key]) for key, value in one.items() if key is not None]
    return plain({"cases": len(both), "structures": structures, "nodule_dice": tested(dices) if dices else None})


def plain(value: Any) -> Any:
    """As JSON has it: None for what is not a number, six digits behind the point."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _failure(score: CaseScore) -> dict[str, str]:
    assert score.issue is not None
    issue = score.issue
    return {"case_id": score.case_id, "code": issue.code, "message": issue.message, "remedy": issue.remedy}


def _over_cases(scores: Sequence[CaseScore], name: str, metric: str) -> dict[str, float]:
    values = [(score.patient, score.structures[name][metric]) for score in scores if name in score.structures]
    return _mean((patient, value) for patient, value in values if value is not None)


def _mean(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Mean of (patient, value), with its interval over patients."""
    by_patient: dict[str, list[float]] = {}
    for patient, value in values:
        by_patient.setdefault(patient, []).append(value)
    groups = list(by_patient.values())
    return _interval(bootstrap_ratio([sum(group) for group in groups], [len(group) for group in groups]))


def _interval(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}


def _nodules(rows: Rows) -> dict[str, Any]:
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

    def mean(some: Rows, value: Callable[[NoduleScore], Any]) -> dict[str, float]:
        return _mean((patient, float(value(nodule))) for patient, nodule in some)

    return {
        "nodules": len(wanted),
        "found": len(found),
        "marks": len(marks),
        "detection": mean(wanted, lambda nodule: nodule.outcome == "found"),
        "precision": mean(marks, lambda nodule: nodule.outcome == "found"),
        "dice": mean(wanted, lambda nodule: nodule.dice),
        "iou": mean(wanted, lambda nodule: nodule.iou),
        "dice_of_found": mean(found, lambda nodule: nodule.dice),
        "hd95_mm": mean(found, lambda nodule: nodule.hd95_mm),
    }


def _froc(scores: Sequence[CaseScore]) -> dict[str, Any] | None:
    """By overlap, not by centre: the same nodules are found as everywhere else here. None without confidences."""
    marks = [nodule for score in scores for nodule in score.nodules if nodule.outcome != "missed"]
    wanted = sum(nodule.outcome != "false" for score in scores for nodule in score.nodules)
    if not marks or not wanted or any(nodule.confidence is None for nodule in marks):
        return None
    matches = []
    for score in scores:
        found = [math.nan if n.outcome == "missed" else n.confidence for n in score.nodules if n.outcome != "false"]
        false = [nodule.confidence for nodule in score.nodules if nodule.outcome == "false"]
        count = sum(nodule.outcome != "missed" for nodule in score.nodules)
        matches.append(ScanMatches(np.array(found, float), np.array(false, float), count))
    curve = froc_curve(matches)
    low, high = froc_interval(matches)
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


def _calibration(rows: Rows) -> dict[str, Any] | None:
    marks = [nodule for _, nodule in rows if nodule.outcome != "missed" and nodule.confidence is not None]
    if not marks:
        return None
    found = reliability([float(n.confidence or 0) for n in marks], [n.outcome == "found" for n in marks])
    return {key: getattr(found, key) for key in ("edges", "confidence", "share", "counts", "ece", "low", "high")}


def _agreement(scores: Sequence[CaseScore], rows: Rows, names: Sequence[str]) -> dict[str, Any]:
    """Volumes of found nodules in mm3, of lungs in ml."""
    found = [nodule for _, nodule in rows if nodule.outcome == "found"]
    pairs = {"nodule_mm3": [(nodule.predicted_mm3, nodule.reference_mm3) for nodule in found]}
    for lung in LUNGS:
        if lung.name in names:
            structures = [score.structures[lung.name] for score in scores if lung.name in score.structures]
            both = [(values["predicted_mm3"], values["reference_mm3"]) for values in structures]
            pairs[f"{lung.name}_ml"] = [((a or 0) / 1000, (b or 0) / 1000) for a, b in both]
    agreement = {}
    for name, both in pairs.items():
        if len(both) < 2:
            continue
        ours, theirs = (np.array(column, float) for column in zip(*both, strict=True))
        limits = bland_altman(ours, theirs)
        agreement[name] = {
            "n": limits.n,
            "bias": limits.bias,
            "low": limits.low,
            "high": limits.high,
            "icc": intraclass_correlation(ours, theirs),
            "correlation": correlation(ours, theirs),
            "means": (ours + theirs) / 2,
            "differences": ours - theirs,
        }
    return agreement


def _grades(nodules: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Whether the intervals of the nodules' means lie beyond the bounds of a use: a grade, not a claim."""
    grades = []
    for use, bounds in GRADES:
        parts, verdicts = [], []
        for name, bound, more_is_better in bounds:
            value = nodules["all"][name]
            low, high = (value["low"], value["high"]) if more_is_better else (-value["high"], -value["low"])
            limit = bound if more_is_better else -bound
            verdicts.append("reached" if low > limit else "not reached" if high <= limit else "open")
            if value["n"] == 0:
                verdicts[-1] = "open"
            parts.append({"metric": name, "bound": bound, "more_is_better": more_is_better, **value})
        worst = next(verdict for verdict in ("not reached", "open", "reached") if verdict in verdicts)
        grades.append({"use": use, "verdict": worst, "parts": parts})
    return grades
