"""Preparing Lung-PET-CT-Dx: CT series and boxes drawn on their slices -> boxes in world mm. There are no masks.

In: a folder with DICOM series and box files anywhere below. Out: `FoundDataset`. Writes no label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.core import LungSegError, QualityIssue, Volume
from lungseg3d.data import LUNG_PET_CT_DX, SliceBox, read_box_xml
from lungseg3d.io import ReadOptions, SeriesFiles, find_series, instance_uids
from lungseg3d.workflows.prepare.reading import grid_facts, read_series, rounded_mm
from lungseg3d.workflows.prepare.run import FoundCase, FoundDataset, MadeCase

_CONVENTIONS = {
    "image": "CT of a PET-CT or a diagnostic CT",
    "boxes": "in the facts, one for each box and slice: lowest and highest corner in RAS mm, pixel centres from 0",
    "classes": {"A": "adenocarcinoma", "B": "small cell", "E": "large cell", "G": "squamous cell carcinoma"},
    "label": "none: boxes are no masks",
}


def find_lung_pet_ct_dx(
    source: Path,
    read: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    out: Path | None = None,
) -> FoundDataset:
    """Every CT series of which a slice is annotated by a file `<SOPInstanceUID>.xml`; by PatientID, a pseudonym here.

    Raises:
        LungSegError: E_NO_CASES without box files.
    """
    read = replace(read, links_within=source)
    annotated = {path.stem: path for path in sorted(source.rglob("*.xml"))}
    if not annotated:
        text = f"{source}: no box files; expected {LUNG_PET_CT_DX.looks_like}."
        raise LungSegError("E_NO_CASES", text, LUNG_PET_CT_DX.how_to_get)
    cases = []
    for series in find_series(source, [out] if out else (), read):
        files = {uid: annotated[uid] for uid, _ in series.files if uid in annotated}
        if series.modality == "CT" and files:
            patient = series.patient_id or series.series_uid
            name = f"{patient}_{series.series_uid[-6:]}"
            cases.append(FoundCase(name, patient, partial(_make, series, files, read)))
    cases.sort(key=lambda case: case.name)
    return FoundDataset(LUNG_PET_CT_DX, _CONVENTIONS, cases)


def _make(series: SeriesFiles, files: Mapping[str, Path], read: ReadOptions, labels: Path, case_id: str) -> MadeCase:
    ct = read_series(series, read, case_id)
    slices = {uid: k for k, uid in enumerate(instance_uids(ct.files))} if len(ct.files) == ct.volume.shape[2] else {}
    lost = [uid for uid in files if uid not in slices]
    placed = sorted((slices[uid], read_box_xml(path)) for uid, path in files.items() if uid in slices)
    boxes = [_box_facts(box, k, ct.volume) for k, found in placed for box in found]
    if not boxes:
        text = f"{case_id}: {len(files)} box files, but no box lies on a slice of the CT."
        raise LungSegError("E_NO_LABEL", text, LUNG_PET_CT_DX.how_to_get)
    facts = grid_facts(ct.volume) | {"series_uid": series.series_uid, "boxes": boxes}
    issues = ct.issues
    if lost:
        issues += (QualityIssue("W_CONTOURS_OUTSIDE", f"boxes of {len(lost)} slices lie on no slice of the CT."),)
    return MadeCase({"image": series.folder}, facts, issues)


def _box_facts(box: SliceBox, k: int, volume: Volume) -> dict[str, Any]:
    corners = volume.grid.to_world(np.array([[*box.low, k], [*box.high, k]]))
    return {
        "class": box.name,
        "slice": k,
        "low_ras_mm": rounded_mm(corners.min(axis=0)),
        "high_ras_mm": rounded_mm(corners.max(axis=0)),
    }
