"""Reference and prediction of one case -> what is measured: voxels by structure, nodules one by one.

In: a `CasePair`. Out: a `CaseScore`. Knows no file, no other case and no table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import ndimage

from lungseg3d.core import Box, Grid, QualityIssue
from lungseg3d.metrics import (
    SurfaceDistances,
    accuracy,
    dice,
    iou,
    match_nodules,
    ppv,
    sensitivity,
    specificity,
    volume_error,
)
from lungseg3d.workflows.evaluate.inputs import CasePair
from lungseg3d.workflows.evaluate.records import Finding


@dataclass(frozen=True)
class NoduleScore:
    """One nodule of the reference or of the prediction.

    Attributes:
        outcome: `found`, `missed` or `false`.
        diameter_mm: of the sphere of the reference's volume; of a false one, of the prediction's.
        centre_ras_mm: of the reference; of a false one, of the prediction.
        reference_id, prediction_id: values in the two maps, or None.
        reference_mm3, predicted_mm3: volumes, or None.
        dice, iou: of the pair; 0 for a missed one, None for a false one.
        hd95_mm, hd100_mm: of the pair, or None.
        confidence, calibrated_confidence: of the prediction, or None.
        texture: LIDC texture of the reference, 1 ground glass to 5 solid, or None.
        kind: of the prediction as it was measured, `solid`, `part-solid` or `ground-glass`; empty where not known.
        is_listed: whether the prediction stands in the list of nodules; None for a missed one.
        reason: why the prediction is a candidate, a key of `core.CANDIDATE_REASONS`; empty for others.
    """

    outcome: str
    diameter_mm: float
    centre_ras_mm: tuple[float, float, float]
    reference_id: int | None = None
    prediction_id: int | None = None
    reference_mm3: float | None = None
    predicted_mm3: float | None = None
    dice: float | None = None
    iou: float | None = None
    hd95_mm: float | None = None
    hd100_mm: float | None = None
    confidence: float | None = None
    calibrated_confidence: float | None = None
    texture: int | None = None
    kind: str = ""
    is_listed: bool | None = None
    reason: str = ""


@dataclass(frozen=True)
class CaseScore:
    """What one case came to.

    Attributes:
        case_id, patient: of the manifest.
        structures: name -> name of a metric -> number; None where it is not defined.
        nodules: all of them, those of the reference first.
        issue: why it could not be evaluated, or None.
        warnings: what is odd about its maps.
        point: by what the list of its results was made, `CaseResult.operating_point`; empty where everything is listed.
    """

    case_id: str
    patient: str
    structures: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    nodules: tuple[NoduleScore, ...] = ()
    issue: QualityIssue | None = None
    warnings: tuple[QualityIssue, ...] = ()
    point: Mapping[str, Any] = field(default_factory=dict)


def score_case(entry: Mapping[str, Any], pair: CasePair, least_iou: float) -> CaseScore:
    """All measurements of a case; `entry` is that of a data list, `least_iou` as in `match_nodules`."""
    structures = {
        name: measure_mask(pair.prediction[name], pair.reference[name], pair.grid.spacing_mm) for name in pair.reference
    }
    nodules: tuple[NoduleScore, ...] = ()
    if pair.reference_nodules is not None and pair.predicted_nodules is not None:
        nodules = _score_nodules(entry, pair.reference_nodules, pair.predicted_nodules, pair, least_iou)
    patient = entry.get("patient") or entry["case_id"]
    return CaseScore(entry["case_id"], patient, structures, nodules, warnings=pair.warnings, point=pair.point)


def measure_mask(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, float | None]:
    """Every voxel metric of two masks, bool (X, Y, Z); None where it is not defined.

    Two empty masks agree (Dice 1); a prediction where there is nothing has Dice 0, and no surface distance.
    """
    plain = (dice, iou, sensitivity, ppv, specificity, accuracy, volume_error)
    values = {metric.__name__: metric(prediction, reference) for metric in plain}
    surfaces = SurfaceDistances.between(prediction, reference, spacing_mm)
    values |= {"hd95_mm": surfaces.hd95_mm, "hd100_mm": surfaces.hd100_mm, "mean_surface_distance_mm": surfaces.mean_mm}
    values |= {f"nsd_{mm}mm": surfaces.share_within(mm) for mm in (1, 2)}
    voxel_mm3 = float(np.prod(spacing_mm))
    values |= {"reference_mm3": reference.sum() * voxel_mm3, "predicted_mm3": prediction.sum() * voxel_mm3}
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}


def _score_nodules(
    entry: Mapping[str, Any], theirs: np.ndarray, ours: np.ndarray, pair: CasePair, least_iou: float
) -> tuple[NoduleScore, ...]:
    """Every nodule of the reference, then every false one."""
    matches = match_nodules(ours, theirs, least_iou=least_iou)
    boxes_of_ours, boxes_of_theirs = _boxes(ours), _boxes(theirs)
    partner = {match.reference: match for match in matches.pairs}
    texture = (entry.get("facts") or {}).get("texture") if len(boxes_of_theirs) == 1 else None
    scores = []
    for value, box in boxes_of_theirs.items():
        volume_mm3, centre = _measured(theirs, value, box, pair.grid)
        missed = NoduleScore(
            outcome="missed",
            diameter_mm=_diameter_mm(volume_mm3),
            centre_ras_mm=centre,
            reference_id=value,
            reference_mm3=volume_mm3,
            dice=0.0,
            iou=0.0,
            texture=texture,
        )
        match = partner.get(value)
        if match is None:
            scores.append(missed)
            continue
        both = box.joined(boxes_of_ours[match.prediction]).slices
        masks = ours[both] == match.prediction, theirs[both] == value
        found: dict[str, Any] = {"dice": match.dice, "iou": match.iou, "prediction_id": match.prediction}
        found |= {"predicted_mm3": float(masks[0].sum() * pair.grid.voxel_volume_mm3)}
        surfaces = SurfaceDistances.between(*masks, pair.grid.spacing_mm)
        found |= {"hd95_mm": surfaces.hd95_mm, "hd100_mm": surfaces.hd100_mm}
        found |= _recorded(pair, match.prediction)
        scores.append(replace(missed, outcome="found", **found))
    for value in matches.false:
        volume_mm3, centre = _measured(ours, value, boxes_of_ours[value], pair.grid)
        false = NoduleScore("false", _diameter_mm(volume_mm3), centre, prediction_id=value, predicted_mm3=volume_mm3)
        scores.append(replace(false, **_recorded(pair, value)))
    return tuple(scores)


def _recorded(pair: CasePair, value: int) -> dict[str, Any]:
    """What the results say of a finding; one that they do not know is listed, as are all of a mere label map."""
    finding = pair.findings.get(value, Finding())
    names = ("confidence", "calibrated_confidence", "kind", "is_listed", "reason")
    return {name: getattr(finding, name) for name in names}


def _boxes(nodules: np.ndarray) -> dict[int, Box]:
    found = enumerate(ndimage.find_objects(nodules), start=1)
    return {value: Box(tuple(s.start for s in place), tuple(s.stop for s in place)) for value, place in found if place}


def _measured(nodules: np.ndarray, value: int, box: Box, grid: Grid) -> tuple[float, tuple[float, float, float]]:
    """Volume in mm3 and centre of mass in RAS mm."""
    places = np.argwhere(nodules[box.slices] == value)
    centre = grid.to_world(places.mean(axis=0) + np.array(box.start))
    x, y, z = (round(float(mm), 2) for mm in centre)
    return float(len(places) * grid.voxel_volume_mm3), (x, y, z)


def _diameter_mm(volume_mm3: float) -> float:
    diameter_mm: float = (6 * volume_mm3 / math.pi) ** (1 / 3)
    return diameter_mm
