"""Preparing LIDC-IDRI: CT series and the readings of up to four readers -> nodules by consensus, on the CT's own grid.

In: a folder with DICOM series and reading files anywhere below. Out: `FoundDataset`; labels when its cases are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.core import IntakeError, LungSegError, QualityIssue, Volume
from lungseg3d.core.labels import NODULE
from lungseg3d.data import (
    LIDC,
    ConsensusRule,
    LidcContour,
    LidcMark,
    LidcNodule,
    LidcReading,
    find_lidc_nodules,
    read_lidc_xml,
)
from lungseg3d.io import Reading, ReadOptions, SeriesFiles, find_series, instance_uids, write_labels
from lungseg3d.workflows.prepare.reading import grid_facts, read_series, rounded_mm
from lungseg3d.workflows.prepare.run import FoundCase, FoundDataset, MadeCase


def find_lidc(
    source: Path,
    rule: ConsensusRule = ConsensusRule(),  # noqa: B008 - frozen
    read: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    out: Path | None = None,
) -> FoundDataset:
    """Every CT series under `source`, by PatientID and SeriesInstanceUID, with the reading that names it.

    A series without a reading, or with two, is a case that will be refused. Readings of chest X-rays are passed over.

    Raises:
        LungSegError: E_NO_CASES when no reading file of a CT lies under `source`.
    """
    read = replace(read, links_within=source)
    readings: dict[str, list[tuple[str, LidcReading]]] = {}
    broken: list[FoundCase] = []
    for path in sorted(source.rglob("*.xml")):
        try:
            reading = read_lidc_xml(path)
        except LungSegError as error:
            broken.append(FoundCase(path.stem, path.stem, partial(_refuse, error)))
            continue
        if reading.readers:
            readings.setdefault(reading.series_uid, []).append((path.name, reading))
    if not readings:
        raise LungSegError(
            "E_NO_CASES", f"{source}: no reading file of a CT; expected {LIDC.looks_like}.", LIDC.how_to_get
        )
    scans = [s for s in find_series(source, [out] if out else (), read) if s.modality == "CT"]
    scans.sort(key=lambda s: (s.patient_id, s.series_uid))
    repeated = {s.patient_id for s in scans if sum(t.patient_id == s.patient_id for t in scans) > 1}
    cases = []
    for scan in scans:
        name = f"{scan.patient_id}_{scan.series_uid[-6:]}" if scan.patient_id in repeated else scan.patient_id
        make = partial(_make, scan, readings.get(scan.series_uid, []), rule, read)
        cases.append(FoundCase(name or scan.series_uid, scan.patient_id or scan.series_uid, make))
    return FoundDataset(LIDC, _conventions(rule), cases + broken, {1: NODULE.name})


def _conventions(rule: ConsensusRule) -> dict[str, Any]:
    return {
        "image": "thoracic CT as scanned",
        "label": {"1": "nodule of 3 mm and more, by consensus"},
        "ignore": {"1": "nodule of 3 mm and more that too few readers outlined: any reader's voxels, outline included"},
        "consensus": {
            "min_readers": rule.min_readers,
            "min_votes": rule.min_votes,
            "of": "the readers who outlined it",
        },
        "contour_pixels": "inside" if rule.contour_pixels else "outside the nodule, as the LIDC rule says",
        "pixels": "coordinates of the readings count pixel centres from 0",
        "grouping": "marks within the largest voxel edge of each other; narrowed where one reader occurs twice",
        "ratings": "of each reader in the order of `marked_by`, and medians; texture 1 = ground glass .. 5 = solid",
    }


def _refuse(error: LungSegError, labels: Path, case_id: str) -> MadeCase:
    raise error


def _make(
    scan: SeriesFiles,
    readings: Sequence[tuple[str, LidcReading]],
    rule: ConsensusRule,
    read: ReadOptions,
    labels: Path,
    case_id: str,
) -> MadeCase:
    if len(readings) != 1:
        names = ", ".join(name for name, _ in readings) or "none"
        text = f"{case_id}: reading files of series ...{scan.series_uid[-12:]}: {names}; expected one."
        raise LungSegError("E_NO_LABEL", text, "Add the missing file, or take one out.")
    (_, marked), ct = readings[0], read_series(scan, read, case_id)
    slices = _Slices(ct)
    lost = sum(slices(contour) is None for mark in marked.marks for contour in mark.contours)
    if lost and lost == sum(len(mark.contours) for mark in marked.marks):
        raise IntakeError("E_OTHER_REFERENCE", f"{case_id}: no contour lies on a slice of the CT.", LIDC.how_to_get)
    nodules = find_lidc_nodules(marked.marks, slices, ct.volume.spacing_mm, rule)
    issues = list(ct.issues)
    if lost:
        issues.append(QualityIssue("W_CONTOURS_OUTSIDE", f"{lost} contours lie on no slice of the CT."))
    if empty := sum(nodule.accepted and not len(nodule.voxels) for nodule in nodules):
        issues.append(QualityIssue("W_EMPTY_CONSENSUS", f"{empty} nodules have no voxel that enough readers agree on."))
    files = {"image": scan.folder, "label": labels / f"{case_id}_nodules.nii.gz"}
    accepted = [nodule for nodule in nodules if nodule.accepted]
    doubtful = [nodule for nodule in nodules if not nodule.accepted]
    write_labels(files["label"], _mask([nodule.voxels for nodule in accepted], ct.volume))
    if doubtful:
        files["ignore"] = labels / f"{case_id}_doubtful.nii.gz"
        write_labels(files["ignore"], _mask([nodule.touched for nodule in doubtful], ct.volume))
    facts = grid_facts(ct.volume) | {
        "series_uid": scan.series_uid,
        "readers": marked.readers,
        "nodules": [_nodule_facts(nodule, ct.volume) for nodule in nodules],
        "small_nodules": _points_mm([mark for mark in marked.marks if mark.is_small], slices, ct.volume),
        "non_nodules": _points_mm(marked.non_nodules, slices, ct.volume),
    }
    return MadeCase(files, facts, tuple(issues))


class _Slices:
    """Contour -> index of its slice: by SOPInstanceUID, else by position within half a slice distance."""

    def __init__(self, ct: Reading) -> None:
        uids = instance_uids(ct.files) if len(ct.files) == ct.volume.shape[2] else ()
        self.index = {uid: k for k, uid in enumerate(uids) if uid}
        centres = np.array([[0, 0, k] for k in range(ct.volume.shape[2])])
        self.z_mm = ct.volume.grid.to_world(centres)[:, 2]
        self.half_mm = ct.volume.spacing_mm[2] / 2

    def __call__(self, contour: LidcContour) -> int | None:
        if contour.instance_uid in self.index:
            return self.index[contour.instance_uid]
        away = np.abs(self.z_mm - contour.z_mm)
        return int(away.argmin()) if np.isfinite(contour.z_mm) and away.min() <= self.half_mm else None


def _mask(parts: Sequence[np.ndarray], volume: Volume) -> Volume:
    mask = np.zeros(volume.shape, np.uint8)
    for voxels in parts:
        inside = voxels[((voxels >= 0) & (voxels < volume.shape)).all(axis=1)]
        mask[tuple(inside.T)] = 1
    return volume.with_array(mask)


def _nodule_facts(nodule: LidcNodule, volume: Volume) -> dict[str, Any]:
    voxels = nodule.voxels if len(nodule.voxels) else nodule.touched
    volume_mm3 = len(nodule.voxels) * volume.voxel_volume_mm3
    return {
        "accepted": nodule.accepted,
        "readers": nodule.readers,
        "marked_by": [mark.reader for mark in nodule.marks],
        "names": [mark.name for mark in nodule.marks],
        "centre_ras_mm": rounded_mm(volume.grid.to_world(voxels.mean(axis=0))),
        "volume_mm3": round(volume_mm3, 2),
        "diameter_mm": round((6 * volume_mm3 / np.pi) ** (1 / 3), 2),
        "ratings": nodule.ratings(),
        "median_ratings": nodule.median_ratings(),
    }


def _points_mm(marks: Sequence[LidcMark], slices: _Slices, volume: Volume) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for mark in marks:
        for contour in mark.contours:
            if (k := slices(contour)) is not None:
                place = volume.grid.to_world(np.array([*contour.points[0], k]))
                found.append({"reader": mark.reader, "centre_ras_mm": rounded_mm(place)})
    return found
