"""Preparing LUNA16: CTs in ten subsets, nodules as centres and diameters, lungs with the sides told by geometry.

In: the unpacked folder. Out: `FoundDataset`; label files when its cases are made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.core import Grid, LungSegError, QualityIssue, Volume
from lungseg3d.core.labels import LEFT_LUNG, LUNA16_SEG_LUNGS, LUNGS, RIGHT_LUNG
from lungseg3d.data import LUNA16, LunaFinding, read_luna_findings
from lungseg3d.io import ReadOptions, open_ct, read_labels, to_ras_mm, write_labels
from lungseg3d.workflows.prepare.reading import grid_facts
from lungseg3d.workflows.prepare.run import FoundCase, FoundDataset, MadeCase

_SUBSET = re.compile(r"subset(\d)")
_LUNG_VALUES = tuple(value for value, ours in LUNA16_SEG_LUNGS.items() if ours is not None)
_TRACHEA = next(value for value, ours in LUNA16_SEG_LUNGS.items() if ours is None)


@dataclass(frozen=True)
class _Scan:
    """One scan: its CT, its lungs (None where the dataset has none), its rows of the tables."""

    image: Path
    lungs: Path | None
    nodules: Sequence[LunaFinding]
    excluded: Sequence[LunaFinding]


def find_luna16(source: Path, spheres: bool = False, read: ReadOptions = ReadOptions()) -> FoundDataset:  # noqa: B008
    """Every `subset?/*.mhd` under `source`; a subset is a fold, a scan is a patient.

    Args:
        source: holds the subsets, directly or one folder deeper, `annotations.csv` and perhaps `seg-lungs-LUNA16`.
        spheres: write nodules as spheres, too; they are where the nodules are, not what they look like.
        read: how CTs are read.

    Raises:
        LungSegError: E_NO_CASES without subsets or annotations, E_TABLE.
    """
    read = replace(read, links_within=source)
    images = {p.stem: p for p in sorted(source.glob("**/subset[0-9]/*.mhd")) if not p.name.startswith(".")}
    table = _first(source, "annotations.csv")
    if not images or table is None:
        lacking = "no subset0 to subset9 with *.mhd" if not images else "no annotations.csv"
        raise LungSegError("E_NO_CASES", f"{source}: {lacking}; expected {LUNA16.looks_like}.", LUNA16.how_to_get)
    nodules = read_luna_findings(table)
    excluded_table = _first(source, "annotations_excluded.csv")
    excluded = read_luna_findings(excluded_table) if excluded_table else {}
    folder = next((p for p in sorted(source.glob("**/seg-lungs*")) if p.is_dir()), None)
    cases = []
    for uid, image in images.items():
        lungs = folder / f"{uid}.mhd" if folder else None
        scan = _Scan(image, lungs, nodules.get(uid, ()), excluded.get(uid, ()))
        fold = int(_SUBSET.fullmatch(image.parent.name)[1])  # type: ignore[index]
        cases.append(FoundCase(uid, uid, partial(_make, scan, spheres, read), fold))
    structures = {label.value: label.name for label in LUNGS} if folder else {}
    return FoundDataset(LUNA16, _conventions(folder is not None, spheres), cases, structures)


def _first(source: Path, name: str) -> Path | None:
    return next(iter(sorted(source.glob(f"**/{name}"))), None)


def _conventions(lungs: bool, spheres: bool) -> Mapping[str, Any]:
    kept = {
        "image": "thoracic CT of LIDC-IDRI, slices of at most 2.5 mm",
        "label": {str(RIGHT_LUNG.value): "right lung", str(LEFT_LUNG.value): "left lung"},
        "sides": "seg-lungs values 3 and 4 by their place in the body; values of the trachea left out",
        "nodules": "in the facts: 3 mm and more, outlined by 3 of 4 readers; centre in RAS mm",
        "excluded": "in the facts: findings that count neither for nor against a detector",
        "fold": "the subset",
        "patient": "the scan: LUNA16 has one scan of each patient",
        "spheres": {"1": "sphere of the nodule's diameter around its centre, not its shape"},
    }
    left_out = {"label", "sides"} if not lungs else set()
    left_out |= set() if spheres else {"spheres"}
    return {key: value for key, value in kept.items() if key not in left_out}


def _make(scan: _Scan, spheres: bool, read: ReadOptions, labels: Path, case_id: str) -> MadeCase:
    ct = open_ct(scan.image, read)
    files, issues = {"image": scan.image}, list(ct.issues)
    facts = grid_facts(ct.volume) | {
        "series_uid": scan.image.stem,
        "nodules": [_finding_facts(finding) for finding in scan.nodules],
        "excluded": [_finding_facts(finding) for finding in scan.excluded],
    }
    if outside := [f for f in scan.nodules if not _is_inside(f, ct.volume.grid)]:
        issues.append(QualityIssue("W_NODULE_OUTSIDE_CT", f"{len(outside)} nodules lie outside the CT."))
    if scan.lungs is not None:
        lungs, right = _sided_lungs(scan.lungs, ct.volume, case_id, read)
        facts["right_lung_was"] = right
        files["label"] = labels / f"{case_id}_lungs.nii.gz"
        write_labels(files["label"], lungs)
        if right != next(value for value, ours in LUNA16_SEG_LUNGS.items() if ours == RIGHT_LUNG.value):
            issues.append(QualityIssue("W_SIDES_SWAPPED", f"value {right} of seg-lungs lies on the right."))
    if spheres:
        files["spheres"] = labels / f"{case_id}_spheres.nii.gz"
        write_labels(files["spheres"], draw_spheres(scan.nodules, ct.volume))
    return MadeCase(files, facts, tuple(issues))


def _finding_facts(finding: LunaFinding) -> dict[str, Any]:
    centre = [round(float(mm), 3) for mm in to_ras_mm(np.array(finding.centre_lps_mm))]
    diameter = finding.diameter_mm
    return {"centre_ras_mm": centre, "diameter_mm": None if diameter is None else round(diameter, 3)}


def _is_inside(finding: LunaFinding, grid: Grid) -> bool:
    voxel = grid.to_voxel(to_ras_mm(np.array(finding.centre_lps_mm)))
    return bool(((voxel > -0.5) & (voxel < np.array(grid.shape) - 0.5)).all())


def _sided_lungs(path: Path, ct: Volume, case_id: str, read: ReadOptions) -> tuple[Volume, int]:
    """The lungs in our values on the CT's grid, and which of their values is the right lung."""
    if not path.is_file():
        raise LungSegError("E_NO_LABEL", f"{case_id}: no {path.name} in {path.parent.name}.", LUNA16.how_to_get)
    theirs = read_labels(path, read)
    if not theirs.grid.matches(ct.grid, tolerance_mm=0.1):
        text = f"{case_id}: CT {ct.shape} and lungs {theirs.shape} lie on different grids."
        raise LungSegError("E_GRID_MISMATCH", text, "Download both again.")
    x_mm = {
        value: _mean_x_mm(places, theirs.grid)
        for value in (*_LUNG_VALUES, _TRACHEA)
        if len(places := np.argwhere(theirs.array == value))
    }
    found = [value for value in _LUNG_VALUES if value in x_mm]
    if not found:
        values = ", ".join(map(str, np.unique(theirs.array)))
        raise LungSegError("E_NO_LABEL", f"{case_id}: {path.name} holds {values}; expected 3 and 4.", LUNA16.how_to_get)
    middle_mm = x_mm.get(_TRACHEA, float(theirs.grid.to_world((np.array(theirs.shape) - 1) / 2)[0]))
    if len(found) == 1:
        rightmost = found[0] if x_mm[found[0]] > middle_mm else _other(found[0])
    else:
        rightmost = max(found, key=lambda value: x_mm[value])
    ours = np.zeros(theirs.shape, np.uint8)
    ours[theirs.array == rightmost] = RIGHT_LUNG.value
    ours[theirs.array == _other(rightmost)] = LEFT_LUNG.value
    return theirs.with_array(ours), rightmost


def _other(value: int) -> int:
    return sum(_LUNG_VALUES) - value


def _mean_x_mm(places: np.ndarray, grid: Grid) -> float:
    """Of voxels, in RAS: larger towards the patient's right."""
    return float(grid.to_world(places.mean(axis=0))[0])


def draw_spheres(findings: Sequence[LunaFinding], ct: Volume) -> Volume:
    """1 where a voxel's centre lies within a nodule's radius of its centre, and in the voxel that holds the centre."""
    mask = np.zeros(ct.shape, np.uint8)
    for finding in findings:
        if finding.diameter_mm is None or not _is_inside(finding, ct.grid):
            continue
        centre_mm = to_ras_mm(np.array(finding.centre_lps_mm))
        centre, reach = ct.grid.to_voxel(centre_mm), finding.diameter_mm / 2 / np.array(ct.spacing_mm) * 1.5 + 1
        low = np.maximum(np.floor(centre - reach), 0).astype(int)
        high = np.minimum(np.ceil(centre + reach) + 1, ct.shape).astype(int)
        part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        voxels = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
        mask[part] |= np.linalg.norm(ct.grid.to_world(voxels) - centre_mm, axis=-1) <= finding.diameter_mm / 2
        mask[tuple(np.rint(centre).astype(int))] = 1
    return ct.with_array(mask)
