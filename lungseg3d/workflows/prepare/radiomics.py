"""Preparing NSCLC-Radiomics: CT and RTSTRUCT of each patient -> lungs and tumour as masks on the CT's grid.

In: a folder. Out: `FoundDataset`; label files when its cases are made. A patient's CT may also be one image file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from lungseg3d.core import LungSegError, QualityIssue, Volume
from lungseg3d.core.labels import LEFT_LUNG, LUNGS, RIGHT_LUNG
from lungseg3d.data import NSCLC_RADIOMICS
from lungseg3d.io import (
    Reading,
    ReadOptions,
    SeriesFiles,
    StructureMask,
    StructureSet,
    check_reference,
    draw_structures,
    find_series,
    open_ct,
    read_structures,
    write_labels,
)
from lungseg3d.workflows.prepare.reading import grid_facts, read_series
from lungseg3d.workflows.prepare.run import FoundCase, FoundDataset, MadeCase

PATTERNS = {
    "left": r"(lungs?[-_ ]*(left|l|lt|li)|(left|l|lt)[-_ ]*lungs?)",
    "right": r"(lungs?[-_ ]*(right|r|rt|re)|(right|r|rt)[-_ ]*lungs?)",
    "tumour": r"(gtv(?![-_ ]?n)|tumou?r)\w*([-_ .]\w+)*",
}
"""Names of structures as planning systems write them: `Lung-Left`, `Lung_L`, `L_Lung`; `GTV-1`, `GTV1`, not `GTVn`."""
_IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha")
_FIRST = ("ct", "image")
_IGNORE_MARGIN_VOXELS = 2


@dataclass(frozen=True)
class _Patient:
    """The files of one patient: RTSTRUCT files, CT series, and an image file where there is no series."""

    name: str
    structures: tuple[Path, ...]
    series: tuple[SeriesFiles, ...]
    image: Path | None


def find_nsclc_radiomics(
    source: Path,
    read: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    out: Path | None = None,
) -> FoundDataset:
    """Every patient with an RTSTRUCT under `source`, by PatientID, which is a pseudonym in this dataset.

    A patient's CT is the series that the RTSTRUCT refers to; where no series lies there, the one image file named
    `ct` or `image` beside the RTSTRUCT's folder.
    """
    conventions = {
        "image": "contrast-enhanced planning CT",
        "label": {str(RIGHT_LUNG.value): "right lung", str(LEFT_LUNG.value): "left lung"},
        "tumour": {"1": "gross tumour volume, the union of all GTV contours but those of lymph nodes"},
        "contours": "a pixel counts when its centre lies inside; nested contours are holes (even-odd)",
        "ignore": "the tumour, which the lungs' contours leave mostly out, and 2 voxels around it",
    }
    read = replace(read, links_within=source)
    cases = [FoundCase(p.name, p.name, partial(_make, p, read)) for p in _patients(source, out, read)]
    structures = {label.value: label.name for label in LUNGS}
    return FoundDataset(NSCLC_RADIOMICS, conventions, cases, structures, _IGNORE_MARGIN_VOXELS)


def _patients(source: Path, out: Path | None, read: ReadOptions) -> Iterator[_Patient]:
    by_patient: dict[str, list[SeriesFiles]] = {}
    for series in find_series(source, [out] if out else (), read):
        if series.modality in ("CT", "RTSTRUCT"):
            by_patient.setdefault(series.patient_id or series.folder.name, []).append(series)
    for name, found in sorted(by_patient.items()):
        structures = tuple(path for s in found if s.modality == "RTSTRUCT" for _, path in s.files)
        scans = tuple(s for s in found if s.modality == "CT")
        if structures:
            yield _Patient(name, structures, scans, None if scans else _image_beside(structures[0], source))


def _image_beside(structures: Path, source: Path) -> Path | None:
    for folder in (structures.parent, structures.parent.parent):
        if folder.is_relative_to(source):
            named = (folder / (stem + ending) for stem in _FIRST for ending in _IMAGES)
            if image := next((path for path in named if path.is_file()), None):
                return image
    return None


def _make(patient: _Patient, read: ReadOptions, labels: Path, case_id: str) -> MadeCase:
    if len(patient.structures) != 1:
        found = ", ".join(path.parent.name for path in patient.structures)
        raise LungSegError(
            "E_NO_STRUCTURE",
            f"{case_id}: {len(patient.structures)} RTSTRUCT files ({found}); expected one.",
            "Take one out.",
        )
    structures = read_structures(patient.structures[0])
    image, reading, issues = _read_ct(patient, structures, read, case_id)
    issues += reading.issues
    right, left = (_drawn(structures, side, reading.volume, case_id) for side in ("right", "left"))
    if right is None or left is None:
        names = ", ".join(s.name for s in structures.structures)
        missing = " and ".join(side for side, drawn in (("right", right), ("left", left)) if drawn is None)
        raise LungSegError("E_NO_STRUCTURE", f"{case_id}: no {missing} lung among {names}.", "Leave this case out.")
    swapped = _mean_x_mm(right.mask, reading.volume) < _mean_x_mm(left.mask, reading.volume)
    if swapped:
        right, left = left, right
        issues += (
            QualityIssue("W_SIDES_SWAPPED", "the structure named left lies on the right; the place was believed."),
        )
    lungs = np.zeros(reading.volume.shape, np.uint8)
    lungs[left.mask] = LEFT_LUNG.value
    lungs[right.mask] = RIGHT_LUNG.value
    files = {"image": image, "label": labels / f"{case_id}_lungs.nii.gz"}
    write_labels(files["label"], reading.volume.with_array(lungs))
    facts = grid_facts(reading.volume) | {
        "right_lung_ml": _ml(right, reading.volume),
        "left_lung_ml": _ml(left, reading.volume),
    }
    issues += _remarks("lungs", right) + _remarks("lungs", left)
    if tumour := _drawn(structures, "tumour", reading.volume, case_id):
        files["tumour"] = labels / f"{case_id}_tumour.nii.gz"
        write_labels(files["tumour"], reading.volume.with_array(tumour.mask))
        files["ignore"] = files["tumour"]
        facts["tumour_ml"] = _ml(tumour, reading.volume)
        issues += _remarks("tumour", tumour)
    else:
        issues += (QualityIssue("W_NO_STRUCTURE", "no tumour among the structures."),)
    return MadeCase(files, facts, tuple(dict.fromkeys(issues)))


def _read_ct(
    patient: _Patient, structures: StructureSet, read: ReadOptions, case_id: str
) -> tuple[Path, Reading, tuple[QualityIssue, ...]]:
    """The CT that the structures refer to, and what cannot be proved."""
    if patient.image is not None:
        text = f"{patient.image.name} does not say which series it is; the structures were drawn on its grid unproved."
        return patient.image, open_ct(patient.image, read), (QualityIssue("W_CT_NOT_IDENTIFIED", text),)
    if not patient.series:
        raise LungSegError("E_MISSING_DATA", f"{case_id}: an RTSTRUCT, but no CT.", "Download the CT series, too.")
    referred = [s for s in patient.series if s.series_uid in structures.series_uids]
    series = (referred or list(patient.series))[0]
    check_reference(structures, series.series_uid, series.frame_uid, case_id)
    return series.folder, read_series(series, read, case_id), ()


def _drawn(structures: StructureSet, what: str, volume: Volume, case_id: str) -> StructureMask | None:
    named = structures.find(PATTERNS[what])
    return draw_structures(named, volume.grid, case_id) if named else None


def _mean_x_mm(mask: np.ndarray, volume: Volume) -> float:
    """Towards the patient's left is negative: RAS."""
    return float(volume.grid.to_world(np.argwhere(mask).mean(axis=0))[0])


def _ml(drawn: StructureMask, volume: Volume) -> float:
    return round(float(drawn.mask.sum() * volume.voxel_volume_mm3 / 1000), 3)


def _remarks(name: str, drawn: StructureMask) -> tuple[QualityIssue, ...]:
    found = []
    if drawn.outside:
        found.append(QualityIssue("W_CONTOURS_OUTSIDE", f"{drawn.outside} contours of the {name} lie beyond the CT."))
    if drawn.empty_between:
        text = f"{drawn.empty_between} slices inside the {name} carry no contour."
        found.append(QualityIssue("W_SLICES_UNDRAWN", text))
    return tuple(found)
