"""`prepare check`: a manifest and its files -> everything that would spoil a training or an evaluation.

In: a manifest and the folder of its data. Out: `Fault`s, each with a code, its case and the way out. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from lungseg3d.analysis import segment_lungs_by_rules
from lungseg3d.core import Grid, LungSegError, QualityIssue, Volume
from lungseg3d.core.labels import LUNGS, NODULE, Label
from lungseg3d.core.progress import OnProgress
from lungseg3d.data import (
    BACKGROUND_NAME,
    count_values,
    known_values,
    label_structures,
    read_manifest,
    shape_issues,
    value_issue,
)
from lungseg3d.io import open_ct, read_labels, sha256_of
from lungseg3d.workflows.prepare.faults import Fault, manifest_faults
from lungseg3d.workflows.prepare.reading import reading_of

_GRID_TOLERANCE_MM = 0.1
_LEAST_LUNGS_ML = 500.0
_MARGIN_MM = 10.0
_CENTRE_MARGIN_MM = 20.0
_COARSE_MM = 2.5
_NODULE_ROLES = ("label", "tumour", "spheres")
_NODULE_WORDS = ("nodule", "tumour", "tumor")


def check_manifest(
    manifest: Path | str, dataset_dir: Path, *, lungs: bool = True, on_progress: OnProgress | None = None
) -> tuple[int, list[Fault]]:
    """Read every file of a manifest and compare it with what the manifest says.

    Args:
        manifest: file, or name of a shipped one.
        dataset_dir: folder that its paths start from.
        lungs: also look whether nodules lie in the lungs, as classical rules find them; some seconds for each CT.
        on_progress: called with (manifest, case, fraction done).

    Returns:
        Number of cases, and the faults in the order of the cases.

    Raises:
        LungSegError: E_MANIFEST.
    """
    content = read_manifest(manifest)
    between = manifest_faults(content, dataset_dir)
    faults = [fault for fault in between if not fault.case_id]
    seen: dict[str, str] = {}
    for number, case in enumerate(content["cases"]):
        if on_progress:
            on_progress(content.get("name", ""), case["case_id"], number / len(content["cases"]))
        own = [fault.issue for fault in between if fault.case_id == case["case_id"]]
        known = {issue.code for issue in own}
        own += [i for i in _check_case(case, content, dataset_dir, seen, lungs) if i.code not in known]
        faults += [Fault(case["case_id"], issue) for issue in own]
    return len(content["cases"]), faults


def _nodules(case: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The nodules of a case's facts; None where they list none at all."""
    listed = (case.get("facts") or {}).get("nodules")
    return [nodule for nodule in listed if isinstance(nodule, Mapping)] if isinstance(listed, list) else None


def _check_case(
    case: Mapping[str, Any], content: Mapping[str, Any], root: Path, seen: dict[str, str], lungs: bool
) -> Iterator[QualityIssue]:
    paths = {}
    for role, relative in case["files"].items():
        if (root / relative).exists():
            paths[role] = root / relative
        else:
            remedy = "Set --data to the folder that the manifest's paths start from, or prepare the case again."
            yield QualityIssue("E_MISSING_DATA", f"there is no {role} at {relative}.", remedy)
    yield from _check_sums(case, paths, seen)
    if "image" not in paths:
        return
    try:
        reading = open_ct(paths["image"], reading_of(content))
    except LungSegError as error:
        yield QualityIssue.of(error)
        return
    yield from (i for i in reading.issues if i.code == "W_NONFINITE_REPLACED")
    named = {**(content.get("conventions") or {}), **_named_values(content)}
    nodules: dict[str, np.ndarray] = {}
    for role, path in paths.items():
        if role != "image":
            yield from _check_label(role, path, case, named.get(role), reading.volume, nodules)
    if lungs:
        listed = [] if nodules else _nodules(case) or []
        yield from _outside_lungs(nodules, [n["centre_ras_mm"] for n in listed if "centre_ras_mm" in n], reading.volume)


def _check_sums(case: Mapping[str, Any], paths: Mapping[str, Path], seen: dict[str, str]) -> Iterator[QualityIssue]:
    for role, path in paths.items():
        expected, found = (case.get("sha256") or {}).get(role), ""
        if expected or role == "image":
            found = sha256_of(path)
        if expected and found != expected:
            text = f"the {role} has SHA-256 {found[:12]}..., the manifest says {expected[:12]}..."
            yield QualityIssue("E_CHECKSUM", text, "Copy it again from its source, or prepare the data set again.")
        if role == "image" and (twin := seen.setdefault(found, case["case_id"])) != case["case_id"]:
            remedy = "Take one out: twins in two folds are a leak, in one fold they count twice."
            yield QualityIssue("E_DUPLICATE_CASE", f"its image is that of {twin}.", remedy)


def _check_label(
    role: str, path: Path, case: Mapping[str, Any], names: Any, ct: Volume, nodules: dict[str, np.ndarray]
) -> Iterator[QualityIssue]:
    """What is wrong with one label; the nodules in it are added to `nodules`, each with a number of its own."""
    try:
        label = read_labels(path)
    except LungSegError as error:
        yield QualityIssue.of(error)
        return
    if problem := _grids_apart(ct.grid, label.grid):
        yield QualityIssue("E_GRID_MISMATCH", f"the {role} and the image {problem}.", "Resample it onto the image.")
        return
    values = count_values(label.array)
    if isinstance(names, Mapping):
        unknown = value_issue(f"the {role}", values, [int(value) for value in names if str(value).isdecimal()])
        yield from [unknown] if unknown else []
        yield from shape_issues(f"the {role}", label.array, _structures(names), label.voxel_volume_mm3, ct.array)
    if not values and role == "label" and not _may_be_empty(case):
        yield QualityIssue("E_EMPTY_LABEL", "the label is empty.", "Draw it, or take the case out.")
    if role in _NODULE_ROLES and isinstance(names, Mapping):
        wanted = [value for value, structure in _structures(names).items() if structure is NODULE and value in values]
        if wanted:
            nodules[role], _ = ndimage.label(np.isin(label.array, wanted))


def _named_values(content: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What the values of `label` mean, as evaluation and training take them; empty where nobody says."""
    try:
        known, structures = known_values(content), label_structures(content)
    except LungSegError:  # a fault of the whole manifest, which is named as such
        return {}
    return {"label": {str(v): structures[v].name if v in structures else BACKGROUND_NAME for v in sorted(known)}}


def _structures(names: Mapping[Any, Any]) -> dict[int, Label]:
    """Values whose words name a structure."""
    found: dict[int, Label] = {}
    for value, text in names.items():
        words = str(text).lower().replace("_", " ")
        named = [label for label in LUNGS if label.title.lower() in words]
        named += [NODULE] if any(word in words for word in _NODULE_WORDS) else []
        if str(value).isdecimal() and len(named) == 1:
            found[int(value)] = named[0]
    return found


def _may_be_empty(case: Mapping[str, Any]) -> bool:
    """A CT whose readers agreed on no nodule has an empty label and says so."""
    nodules = _nodules(case)
    return nodules is not None and not any(nodule.get("accepted", True) for nodule in nodules)


def _grids_apart(image: Grid, label: Grid) -> str:
    if image.shape != label.shape:
        return f"have {' x '.join(map(str, label.shape))} and {' x '.join(map(str, image.shape))} voxels"
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape])).reshape(3, -1).T
    apart_mm = np.linalg.norm(image.to_world(corners) - label.to_world(corners), axis=1).max()
    return f"lie {apart_mm:.2f} mm apart" if apart_mm > _GRID_TOLERANCE_MM else ""


def _outside_lungs(
    nodules: Mapping[str, np.ndarray], centres_mm: Sequence[Sequence[float]], ct: Volume
) -> Iterator[QualityIssue]:
    """Nodules no voxel of which lies within a margin of the lungs. A crop, without whole lungs, is not judged."""
    if not nodules and not centres_mm:
        return
    coarse = _coarse(ct)
    lungs = segment_lungs_by_rules(coarse).array > 0
    if lungs.sum() * coarse.voxel_volume_mm3 / 1000 < _LEAST_LUNGS_ML:
        return
    away_mm = ndimage.distance_transform_edt(~lungs, sampling=coarse.spacing_mm)
    for role, numbers in nodules.items():
        for number, box in enumerate(ndimage.find_objects(numbers), 1):
            voxels = np.argwhere(numbers[box] == number) + [part.start for part in box]
            places_mm = ct.grid.to_world(voxels)
            if (nearest_mm := _least(away_mm, places_mm, coarse.grid)) > _MARGIN_MM:
                yield _outside_issue(f"the {role} has a nodule", places_mm.mean(axis=0), nearest_mm)
    for place_mm in centres_mm:
        voxel = ct.grid.to_voxel(np.array(place_mm))
        inside = ((voxel >= -0.5) & (voxel < np.array(ct.shape) - 0.5)).all()
        nearest_mm = _least(away_mm, np.array([place_mm]), coarse.grid) if inside else float("inf")
        if nearest_mm > _CENTRE_MARGIN_MM:
            yield _outside_issue("the facts have a nodule", np.array(place_mm), nearest_mm)


def _coarse(ct: Volume) -> Volume:
    """The means of whole blocks of voxels, of about 2.5 mm: lungs need no more, and this takes seconds."""
    factors = [max(1, int(_COARSE_MM / mm)) for mm in ct.spacing_mm]
    blocks = [n // factor for n, factor in zip(ct.shape, factors, strict=True)]
    array = ct.array[tuple(slice(0, n * factor) for n, factor in zip(blocks, factors, strict=True))]
    for axis, (n, factor) in enumerate(zip(blocks, factors, strict=True)):
        array = array.reshape(*array.shape[:axis], n, factor, *array.shape[axis + 1 :]).mean(axis + 1, dtype=np.float32)
    affine = ct.affine @ np.diag([*factors, 1])
    affine[:3, 3] = ct.grid.to_world((np.array(factors) - 1) / 2)
    return Volume(np.rint(array).astype(np.int16), affine)


def _least(away_mm: np.ndarray, places_mm: np.ndarray, grid: Grid) -> float:
    voxels = np.rint(grid.to_voxel(places_mm)).astype(int).clip(0, np.array(grid.shape) - 1)
    return float(away_mm[tuple(voxels.T)].min())


def _outside_issue(what: str, place_mm: np.ndarray, away_mm: float) -> QualityIssue:
    place = ", ".join(f"{mm:.0f}" for mm in place_mm)
    far = f"{away_mm:.0f} mm from the lungs" if np.isfinite(away_mm) else "outside the CT"
    return QualityIssue("E_NODULE_OUTSIDE_LUNGS", f"{what} at RAS ({place}) mm, {far}.", "Look at it, and mend it.")
