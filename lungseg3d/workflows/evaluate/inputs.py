"""One case of a manifest and its prediction, read onto one grid: masks, nodules, confidences.

In: an entry of a data list, the predictions. Out: a `CasePair`. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from lungseg3d.core import GeometryError, Grid, IntakeError, QualityIssue, Volume
from lungseg3d.core.labels import LUNGS, NODULE, Label
from lungseg3d.data import count_values, inverted_issue, label_issues, shape_issues, value_issue
from lungseg3d.io import CaseFolder, read_labels
from lungseg3d.transforms import fill_from_nearest
from lungseg3d.workflows.evaluate.predictions import Predictions
from lungseg3d.workflows.evaluate.records import Finding, Results, has_no_lungs, read_results
from lungseg3d.workflows.listing.maps import read_findings

_SAME_VALUES = "Write predictions with the values of the manifest's structures."
_ANY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)


def as_recorded(results: Results) -> Results:
    """Listed is what the record lists."""
    return results


@dataclass(frozen=True)
class Rules:
    """How cases are judged.

    Attributes:
        structures: value in the reference -> structure.
        ignore_margin_voxels: by how much the regions to be ignored are widened.
        known: values that the reference may hold; empty: those of the structures.
        listing: says anew which findings of results are listed; by default those that their record lists.
    """

    structures: Mapping[int, Label]
    ignore_margin_voxels: int = 0
    known: Collection[int] = ()
    listing: Callable[[Results], Results] = as_recorded


@dataclass(frozen=True, eq=False)
class CasePair:
    """Reference and prediction of a case on one grid, axes in RAS order, what is ignored taken out of both.

    Everything that was found is predicted, whether it is listed or a candidate.

    Attributes:
        reference, prediction: name of a structure -> bool mask (X, Y, Z).
        reference_nodules, predicted_nodules: one value a nodule, or None where nodules are not judged.
        findings: id of a predicted nodule or candidate -> what the results say of it; empty where they do not say.
        point: by what the results' list and candidates were told apart; see `CaseResult.operating_point`.
        grid: of all arrays.
        warnings: what is odd about the two maps.
    """

    reference: Mapping[str, np.ndarray]
    prediction: Mapping[str, np.ndarray]
    reference_nodules: np.ndarray | None
    predicted_nodules: np.ndarray | None
    findings: Mapping[int, Finding]
    point: Mapping[str, Any]
    grid: Grid
    warnings: tuple[QualityIssue, ...] = ()


def read_pair(entry: Mapping[str, Any], predictions: Predictions, rules: Rules) -> CasePair:
    """Reference and prediction of a case.

    Args:
        entry: of a data list: `case_id`, `label`, and where there are `image` and `ignore`.
        predictions: of all cases of the manifest.
        rules: how it is judged.

    Raises:
        IntakeError: E_NO_PREDICTION; E_LABEL_VALUES for values that the manifest does not know in the reference, or for
            a prediction without any other; E_LABEL_INVERTED for masks turned round; what reading a label map raises.
        GeometryError: E_GRID_MISMATCH when they lie on different grids.
        LungSegError: E_DUPLICATE_CASE for two predictions of the case.
    """
    case_id = entry["case_id"]
    label = read_labels(entry["label"]).as_ras()
    known = rules.known or rules.structures
    issues = label_issues("the reference", label.array, rules.structures, known, label.voxel_volume_mm3)
    _refuse(issues, case_id)
    found = predictions.find(entry)
    is_result, folder = found.name == CaseFolder.LABELS, CaseFolder(found.parent)
    if is_result and has_no_lungs(folder):
        text = f"{case_id}: no lungs were found when it was segmented, so that nothing was looked for in it"
        remedy = "Look at its report; a crop is segmented with [--roi=full|lungseg3d segment --roi full]."
        raise IntakeError("E_NO_PREDICTION", text, remedy)
    ours = _on_grid_of(label, read_labels(found), case_id, "prediction")
    results, nodules = Results(), None
    if is_result and (folder.nodules.is_file() or folder.candidates.is_file()):
        recorded = read_results(folder)
        maps = read_findings(folder, sum(not finding.is_listed for finding in recorded.findings.values()))
        results = rules.listing(recorded)
        nodules = _on_grid_of(label, maps.all, case_id, "nodule map").array
        if maps.candidates is not None:
            candidates = maps.candidates.as_ras().array > 0
            ours = ours.with_array(np.where(candidates, np.array(NODULE.value, ours.array.dtype), ours.array))
            unknown = dict.fromkeys(np.unique(maps.candidates.array).tolist(), Finding(is_listed=False))
            results = replace(results, findings=unknown | dict(results.findings))
    ours_values = {label.value: label for label in (*LUNGS, NODULE)} if is_result else rules.structures
    issues += _prediction_issues(ours, ours_values, ours_values if is_result else known)
    _refuse(issues, case_id)
    judged = None
    if entry.get("ignore"):
        left_out = _on_grid_of(label, read_labels(entry["ignore"]), case_id, "region to be ignored").array > 0
        inverted = inverted_issue("the region to be ignored", left_out, label.voxel_volume_mm3)
        _refuse([inverted] if inverted else [], case_id)
        if rules.ignore_margin_voxels:
            left_out = ndimage.binary_dilation(left_out, iterations=rules.ignore_margin_voxels)
        judged = ~left_out
    names = {structure.name for structure in rules.structures.values()}
    reference = _masks(label.array, rules.structures, names, judged)
    prediction = _masks(ours.array, ours_values, names, judged)
    if NODULE.name not in names:
        return CasePair(reference, prediction, None, None, {}, {}, label.grid, tuple(issues))
    predicted = prediction[NODULE.name]
    if nodules is not None:
        nodules = np.where(predicted, nodules, 0)
    else:
        nodules, _ = ndimage.label(predicted, structure=_ANY_NEIGHBOUR)
    theirs, _ = ndimage.label(reference[NODULE.name], structure=_ANY_NEIGHBOUR)
    return CasePair(reference, prediction, theirs, nodules, results.findings, results.point, label.grid, tuple(issues))


def _refuse(issues: Sequence[QualityIssue], case_id: str) -> None:
    if refusal := next((issue for issue in issues if issue.code.startswith("E_")), None):
        raise IntakeError(refusal.code, f"{case_id}: {refusal.message}", refusal.remedy)


def _prediction_issues(ours: Volume, structures: Mapping[int, Label], known: Collection[int]) -> Iterator[QualityIssue]:
    """What is odd about a prediction; one that holds nothing that the manifest knows is refused, not given a 0."""
    values = value_issue("the prediction", count_values(ours.array), known, is_reference=False, remedy=_SAME_VALUES)
    yield from [values] if values else []
    yield from shape_issues("the prediction", ours.array, structures, ours.voxel_volume_mm3)


def _on_grid_of(label: Volume, other: Volume, case_id: str, what: str) -> Volume:
    other = other.as_ras()
    if not label.grid.matches(other.grid):
        apart_mm = label.grid.apart_mm(other.grid)
        found = f"{case_id}: the {what} has {other.grid}, the reference {label.grid}"
        raise GeometryError(
            "E_GRID_MISMATCH",
            f"{found}{'' if apart_mm is None else f': up to {apart_mm:.4g} mm apart'}.",
            "Write both on the CT's own grid.",
        )
    return other


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
