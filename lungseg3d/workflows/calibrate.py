"""`calibrate`: evaluations of held-out folds in; the confidence map of a nodule bundle out, and how good it is.

In: folders that `evaluate` wrote, a bundle. Out: `configs/calibration.json` of the bundle, with the calibration error
before, and after by maps that never saw the fold they are judged on.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.core import LungSegError, UsageError
from lungseg3d.data import assign_folds
from lungseg3d.inference.listing.calibration_file import CALIBRATION, calibration_text
from lungseg3d.inference.listing.rule_digest import rule_sha256_of
from lungseg3d.io import joined_sha256, sha256_of, write_text
from lungseg3d.metrics import ConfidenceMap, Reliability, fit_confidence_map, held_out_confidences, reliability
from lungseg3d.metrics.means import plain

FOLDS_OF_ONE = 5
"""Folds, by patient, that one evaluation alone is cut into."""


@dataclass(frozen=True)
class Calibrated:
    """What a calibration came to.

    Attributes:
        fitted: the map of all findings.
        before: the raw confidences against the truth.
        held_out: what maps of the other folds make of each finding, against the truth.
        findings, true: how many there were, and how many of them are nodules.
        path: the file, in the bundle.
    """

    fitted: ConfidenceMap
    before: Reliability
    held_out: Reliability
    findings: int
    true: int
    path: Path


@dataclass(frozen=True)
class _Findings:
    confidence: np.ndarray
    is_true: np.ndarray
    patients: list[str]
    folds: np.ndarray
    manifests: list[str]


def calibrate(evaluations: Sequence[Path], bundle: Path, method: str = "platt") -> Calibrated:
    """Fit the map on all findings of the evaluations, and write it into the bundle.

    Args:
        evaluations: folders of `evaluate`; each is one held-out fold. A single one is cut into `FOLDS_OF_ONE` folds by
            patient. Their predictions must be of cases that the weights behind them have not seen.
        bundle: folder of a nodule bundle; its present weights are those that the map will hold for.
        method: as in `fit_confidence_map`.

    Raises:
        UsageError: E_CALIBRATION for folders without findings, a case in two of them, or too few findings.
        OutputError: E_WRITE, E_NO_SPACE.
    """
    weights, judge = (bundle / "models" / name for name in ("model.pt", "judge.pt"))
    if not weights.is_file():
        raise UsageError("E_NO_BUNDLE", f"{bundle} has no models/model.pt", "Give the folder of a nodule bundle.")
    found = _read(evaluations)
    try:
        held = held_out_confidences(found.confidence, found.is_true, found.folds, method)
        fitted = fit_confidence_map(found.confidence, found.is_true, method)
    except ValueError as error:
        raise UsageError("E_CALIBRATION", f"{error}.", "Give more evaluations of held-out cases.") from error
    before = reliability(found.confidence, found.is_true, groups=found.patients)
    after = reliability(held, found.is_true, groups=found.patients)
    done = Calibrated(fitted, before, after, len(found.patients), int(found.is_true.sum()), bundle / CALIBRATION)
    facts = {
        "method": method,
        "weights_sha256": joined_sha256(*(sha256_of(file) for file in (weights, judge) if file.is_file())),
        "rule_sha256": rule_sha256_of(bundle),
        "fitted_on": {
            "manifests": found.manifests,
            "evaluations": len(evaluations),
            "patients": len(set(found.patients)),
            "findings": done.findings,
            "true_findings": done.true,
        },
        "calibration_error": {"before": _error(before), "held_out": _error(after)},
    }
    write_text(done.path, calibration_text(fitted, **plain(facts)))
    return done


def _read(evaluations: Sequence[Path]) -> _Findings:
    rows: list[dict[str, str]] = []
    fold_of: list[int] = []
    manifests: list[str] = []
    seen: dict[str, Path] = {}
    for number, folder in enumerate(evaluations):
        try:
            with (folder / "nodules.csv").open(encoding="utf-8", newline="") as file:
                own = [row for row in csv.DictReader(file) if row["outcome"] != "missed" and row["confidence"]]
            name = str(json.loads((folder / "summary.json").read_text(encoding="utf-8"))["manifest"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            text = f"{folder}: no evaluation of nodules with confidences ({type(error).__name__}: {error})."
            raise UsageError("E_CALIBRATION", text, "Give folders that lungseg3d evaluate wrote.") from error
        for case in {row["case_id"] for row in own}:
            if (other := seen.setdefault(f"{name}/{case}", folder)) != folder:
                text = f"{case} of {name} is in {other.name} and in {folder.name}."
                raise UsageError("E_CALIBRATION", text, "Give each held-out case once.")
        rows += own
        fold_of += [number] * len(own)
        manifests += [name] if name not in manifests else []
    if not rows:
        raise UsageError("E_CALIBRATION", "no finding has a confidence.", "Evaluate results of lungseg3d segment.")
    patients = [row["patient"] for row in rows]
    if len(evaluations) == 1:
        dealt = assign_folds(patients, FOLDS_OF_ONE)
        fold_of = [dealt[patient] for patient in patients]
    is_true = np.array([row["outcome"] == "found" for row in rows])
    return _Findings(_confidences(rows), is_true, patients, np.array(fold_of), manifests)


def _confidences(rows: Sequence[dict[str, str]]) -> np.ndarray:
    try:
        return np.array([float(row["confidence"]) for row in rows])
    except ValueError as error:
        raise LungSegError("E_CALIBRATION", f"nodules.csv: {error}.", "Evaluate the results again.") from error


def _error(found: Reliability) -> dict[str, Any]:
    return {"ece": found.ece, "low": found.low, "high": found.high}
