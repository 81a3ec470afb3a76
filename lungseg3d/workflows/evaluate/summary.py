"""Scores of many cases -> means with intervals, detection by size and texture, FROC, agreement, calibration, grades.

In: `CaseScore`s. Out: the content of `summary.json`. Writes no file.

The unit of every interval and test is the patient: what belongs to one patient is resampled together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lungseg3d.core.labels import LUNGS, NODULE
from lungseg3d.metrics import (
    LEAST_PATIENTS,
    bland_altman,
    correlation,
    intraclass_correlation,
    paired_test,
)
from lungseg3d.metrics.means import interval_of, mean_over_patients, plain
from lungseg3d.workflows.evaluate.cases import CaseScore
from lungseg3d.workflows.evaluate.nodules import Rows, bands_of, calibration_of, froc_of, grades_of, nodule_strata
from lungseg3d.workflows.evaluate.reader_list import list_of

METRICS = (
    "dice",
    "iou",
    "sensitivity",
    "ppv",
    "specificity",
    "accuracy",
    "hd95_mm",
    "hd100_mm",
    "mean_surface_distance_mm",
    "nsd_1mm",
    "nsd_2mm",
    "volume_error",
)
SHARES = ("dice", "iou", "sensitivity", "ppv", "specificity", "accuracy", "nsd_1mm", "nsd_2mm")
"""Metrics between 0 and 1."""
OF_FOUND = ("dice", "iou", "nsd_1mm", "hd95_mm", "hd100_mm")
"""What is told of found cases alone, too."""


def summary_of(scores: Sequence[CaseScore], **facts: Any) -> dict[str, Any]:
    """Everything that is known of all cases.

    Args:
        scores: of all cases, those that could not be evaluated included.
        **facts: further entries, such as manifest and split.

    Returns:
        `structures`: name -> metric -> mean, low, high, n (values), defined over cases, a missed case as Dice 0;
        `of_found`: the same of cases whose structure was found alone, and how many were missed; `list`: see
        `evaluate_list`, the only entry that knows which findings are listed; `nodules`, `froc`,
        `calibration`, `agreement`, `grades`, `bands`: None where nothing of the kind can be said; `failed`. What is not
        defined is None. Fewer than `least_patients` have no interval.
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
        "of_found": {name: _of_found(done, name) for name in names},
        "least_patients": LEAST_PATIENTS,
        "list": list_of(done) if judged else None,
        "nodules": nodule_strata(rows) if judged else None,
        "froc": froc_of(done) if judged else None,
        "calibration": calibration_of(rows) if judged else None,
        "agreement": _agreement(done, rows, names),
    }
    verdicts = {
        key: of(content["nodules"]) if judged else None for key, of in (("grades", grades_of), ("bands", bands_of))
    }
    summary: dict[str, Any] = plain(content | verdicts)
    return summary


def paired_comparison(scores: Sequence[CaseScore], others: Sequence[CaseScore]) -> dict[str, Any]:
    """This prediction against another, case by case, on the cases that both have.

    Returns:
        Structure -> metric -> mean difference (this - other), its interval, n, and p of Wilcoxon's test over patients;
        and the same of `nodule_dice` for the Dice of every nodule of the reference. Fewer than `LEAST_PATIENTS`
        patients have neither interval nor p, however many cases or nodules they have.
    """
    ours, theirs = ({score.case_id: score for score in side if score.issue is None} for side in (scores, others))
    both = [case_id for case_id in ours if case_id in theirs]
    names = list(dict.fromkeys(name for case_id in both for name in ours[case_id].structures))

    def tested(rows: Iterable[tuple[str, float | None, float | None]]) -> dict[str, float]:
        patients: list[str] = []
        pairs: tuple[list[float], list[float]] = ([], [])
        for patient, *values in rows:
            patients.append(patient)
            for side, value in zip(pairs, values, strict=True):
                side.append(math.nan if value is None else float(value))
        test = paired_test(*pairs, patients)
        return interval_of(test.difference) | {"p": test.p, "patients": test.patients}

    structures = {
        name: {
            metric: tested(
                (ours[i].patient, ours[i].structures[name][metric], theirs[i].structures[name][metric]) for i in both
            )
            for metric in METRICS
        }
        for name in names
    }
    dices: list[tuple[str, float | None, float | None]] = []
    for case_id in both:
        one, two = ({n.reference_id: n.dice for n in side[case_id].nodules} for side in (ours, theirs))
        dices += [(ours[case_id].patient, value, two[key]) for key, value in one.items() if key is not None]
    patients = len({ours[case_id].patient for case_id in both})
    compared: dict[str, Any] = plain(
        {
            "cases": len(both),
            "patients": patients,
            "structures": structures,
            "nodule_dice": tested(dices) if dices else None,
        }
    )
    return compared


def _failure(score: CaseScore) -> dict[str, str]:
    assert score.issue is not None
    issue = score.issue
    return {"case_id": score.case_id, "code": issue.code, "message": issue.message, "remedy": issue.remedy}


def _over_cases(scores: Sequence[CaseScore], name: str, metric: str) -> dict[str, float]:
    values = [(score.patient, score.structures[name][metric]) for score in scores if name in score.structures]
    within = (0.0, 1.0) if metric in SHARES else None
    return mean_over_patients(((patient, value) for patient, value in values if value is not None), within=within)


def _of_found(scores: Sequence[CaseScore], name: str) -> dict[str, Any]:
    """Cases with the structure, those where it was missed, those without it; means of the found ones alone.

    A case counts as found here where prediction and reference are both there and meet.
    """
    own = [score for score in scores if name in score.structures]
    wanted = [score for score in own if score.structures[name]["reference_mm3"]]
    found = [score for score in wanted if score.structures[name]["dice"]]
    empty = [score for score in own if not score.structures[name]["reference_mm3"]]
    false = sum(bool(score.structures[name]["predicted_mm3"]) for score in empty)
    counts = {"cases": len(own), "wanted": len(wanted), "missed": len(wanted) - len(found)}
    counts |= {"empty": len(empty), "empty_with_prediction": false}
    return counts | {metric: _over_cases(found, name, metric) for metric in OF_FOUND}


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
