"""The calibration that a nodule bundle keeps: `configs/calibration.json`.

In: a bundle. Out: its `ConfidenceMap`, or why it is not used. Without the file nothing is calibrated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lungseg3d.core import BundleError, Nodule, QualityIssue, json_text
from lungseg3d.metrics import ConfidenceMap

CALIBRATION = "configs/calibration.json"
SCHEMA_VERSION = 1


def calibration_text(fitted: ConfidenceMap, **facts: Any) -> str:
    """The file: the map's knots, and `facts` such as the weights it holds for and what it was fitted on."""
    knots = {"confidence": list(fitted.confidence), "probability": list(fitted.probability)}
    content = {"schema_version": SCHEMA_VERSION, **facts, **knots}
    return json_text(content)


def read_calibration(
    bundle: Path, weights_sha256: str, rule_sha256: str = ""
) -> tuple[ConfidenceMap | None, list[QualityIssue]]:
    """The map of a bundle, where it has one for these weights and this rule.

    Args:
        bundle: its folder.
        weights_sha256: of the networks behind its confidences, `Bundle.confidence_sha256`.
        rule_sha256: of its configuration, `Bundle.rule_sha256`; files of earlier versions name none and fit any.

    Returns:
        The map, or None; and W_OTHER_CALIBRATION where there is one for other weights or another rule: it is not used.

    Raises:
        BundleError: E_CALIBRATION for a file that is none.
    """
    path = bundle / CALIBRATION
    if not path.is_file():
        return None, []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fitted = ConfidenceMap(tuple(content["confidence"]), tuple(content["probability"]))
        known = str(content["weights_sha256"])
        known_rule = str(content.get("rule_sha256", "")) or rule_sha256
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        text = f"{path}: no calibration ({type(error).__name__}: {error})."
        raise BundleError("E_CALIBRATION", text, "Fit it again with lungseg3d calibrate, or remove it.") from error
    if known == weights_sha256 and (known_rule == rule_sha256 or not rule_sha256):
        return fitted, []
    if known == weights_sha256:
        text = f"the calibration of {bundle.name} was fitted with other settings in configs/inference.json."
    else:
        text = f"the calibration of {bundle.name} was fitted for weights {known[:12]}, these are {weights_sha256[:12]}."
    return None, [QualityIssue("W_OTHER_CALIBRATION", text, "Fit it again: lungseg3d calibrate.")]


def calibrated(nodules: Sequence[Nodule], fitted: ConfidenceMap | None) -> list[Nodule]:
    """The nodules with their calibrated confidence, where there is a map and a confidence."""
    if fitted is None:
        return list(nodules)
    known = [(nodule, nodule.certainty.confidence) for nodule in nodules]
    return [
        nodule
        if sure is None
        else replace(nodule, certainty=replace(nodule.certainty, calibrated_confidence=float(fitted([sure])[0])))
        for nodule, sure in known
    ]
