"""One case of a manifest and its prediction, read onto one grid: masks, nodules, confidences.

In: an entry of a data list, the folder of predictions. Out: a `Pair`. Measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from lungseg3d.core import GeometryError, Grid, IntakeError, Volume
from lungseg3d.core.labels import LUNGS, NODULE, Label
from lungseg3d.io import case_id_of, read_labels
from lungseg3d.transforms import fill_from_nearest

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
_ANY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Rules:
    """How cases are judged.

    Attributes:
        structures: value in the reference -> structure.
        ignore_margin_voxels: by how much the regions to be ignored are widened.
    """

    structures: Mapping[int, Label]
    ignore_margin_voxels: int = 0


@dataclass(frozen=True, eq=False)
class Pair:
    """Reference and prediction of a case on one grid, axes in RAS order, what is ignored taken out of both.

    Attributes:
        reference, prediction: name of a structure -> bool mask (X, Y, Z).
        reference_nodules, predicted_nodules: one value a nodule, or None where nodules are not judged.
        confidences: id of a predicted nodule -> 0 to 1.
        calibrated: the same, calibrated, where the results have it.
        grid: of all arrays.
    """

    reference: Mapping[str, np.ndarray]
    prediction: Mapping[str, np.ndarray]
    reference_nodules: np.ndarray | None
    predicted_nodules: np.ndarray | None
    confidences: Mapping[int, float]
    calibrated: Mapping[int, float]
    grid: Grid


def read_pair(entry: Mapping[str, Any], predictions: Path, rules: Rules) -> Pair:
    """Reference and prediction of a case.

    Args:
        entry: of a data list: `case_id`, `label`, and where there are `image` and `ignore`.
        predictions: folder with `<case>/labels.nii.gz` as `segment` writes it, or one label map a case with the values
            of the manifest, `<case_id>.nii.gz` or another ending of `ENDINGS`.
        rules: how it is judged.

    Raises:
        IntakeError: E_NO_PREDICTION, or what reading a label map raises.
        GeometryError: E_GRID_MISMATCH when they lie on different grids.
    """
    case_id = entry["case_id"]
    label = read_labels(entry["label"]).as_ras()
    found = find_prediction(entry, predictions)
    if found is None:
        text = f"{case_id}: {predictions.name} has neither {case_id}/labels.nii.gz nor {case_id}.nii.gz"
        raise IntakeError("E_NO_PREDICTION", text, "Segment the case, or leave it out of the split.")
    is_result = found.name == "labels.nii.gz"
    ours = _on_grid_of(label, found, case_id, "prediction")
    ours_values = {label.value: label for label in (*LUNGS, NODULE)} if is_result else rules.structures
    judged = None
    if entry.get("ignore"):
        left_out = _on_grid_of(label, Path(entry["ignore"]), case_id, "region to be ignored").array > 0
        if rules.ignore_margin_voxels:
            left_out = ndimage.binary_dilation(left_out, iterations=rules.ignore_margin_voxels)
        judged = ~left_out
    names = {structure.name for structure in rules.structures.values()}
    reference = _masks(label.array, rules.structures, names, judged)
    prediction = _masks(ours.array, ours_values, names, judged)
    if NODULE.name not in names:
        return Pair(reference, prediction, None, None, {}, {}, label.grid)
    nodule_map = found.with_name("nodules.nii.gz")
    confidences: Mapping[int, float] = {}
    calibrated: Mapping[int, float] = {}
    if is_result and nodule_map.is_file():
        nodules = _on_grid_of(label, nodule_map, case_id, "nodule map").array
        nodules = np.where(prediction[NODULE.name], nodules, 0)
        record = found.with_name("result.json")
        confidences = _confidences(record, "confidence")
        calibrated = _confidences(record, "calibrated_confidence")
    else:
        nodules, _ = ndimage.label(prediction[NODULE.name], structure=_ANY_NEIGHBOUR)
    theirs, _ = ndimage.label(reference[NODULE.name], structure=_ANY_NEIGHBOUR)
    return Pair(reference, prediction, theirs, nodules, confidences, calibrated, label.grid)


def find_prediction(entry: Mapping[str, Any], predictions: Path) -> Path | None:
    """The label map of a case, as `read_pair` looks for it; None where there is none."""
    names = [entry["case_id"], *([case_id_of(Path(entry["image"]))] if entry.get("image") else [])]
    places = [place for name in names for place in (predictions / name / "labels.nii.gz", *_files(predictions, name))]
    return next((place for place in places if place.is_file()), None)


def _files(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}{ending}" for ending in ENDINGS]


def _on_grid_of(label: Volume, path: Path, case_id: str, what: str) -> Volume:
    other = read_labels(path).as_ras()
    if not label.grid.matches(other.grid):
        found = (
            f"{case_id}: the {what} has {other.shape} voxels of {_spacing(other)} mm, the reference {label.shape} of"
        )
        raise GeometryError(
            "E_GRID_MISMATCH",
            f"{found} {_spacing(label)} mm, or they lie elsewhere",
            "Write both on the CT's own grid.",
        )
    return other


def _spacing(volume: Volume) -> str:
    return " x ".join(f"{mm:.3g}" for mm in volume.spacing_mm)


def _masks(
    array: np.ndarray, values: Mapping[int, Label], names: set[str], judged: np.ndarray | None
) -> dict[str, np.ndarray]:
    """A mask of each structure that is judged; lungs with the nodules in them."""
    nodule = next((value for value, label in values.items() if label is NODULE), None)
    lungs = {value: label for value, label in values.items() if label in LUNGS and label.name in names}
    filled = array
    if lungs and nodule is not None and (array == nodule).any():
        filled = fill_from_nearest(array, array == nodule)
    masks = {label.name: filled == value for value, label in lungs.items()}
    if NODULE.name in names:
        masks[NODULE.name] = array == nodule if nodule is not None else np.zeros(array.shape, bool)
    return masks if judged is None else {name: mask & judged for name, mask in masks.items()}


def _confidences(path: Path, key: str) -> dict[int, float]:
    """`key` of each nodule of a `result.json`; empty where it says none, or says it in another way."""
    try:
        nodules = json.loads(path.read_text(encoding="utf-8"))["nodules"]
        found = {int(nodule["id"]): nodule.get(key) for nodule in nodules}
        return {number: float(sure) for number, sure in found.items() if sure is not None and 0 <= float(sure) <= 1}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
