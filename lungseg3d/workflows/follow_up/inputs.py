"""What `follow-up` starts from: for each time point a record, its masks and, where it can be read, the CT.

In: a folder of results, or a CT that was segmented into one. Out: an `Examination`. Runs no network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pydicom.dataset import Dataset
from scipy import ndimage

from lungseg3d.analysis import Chest, DensityAt, volume_interval_mm3
from lungseg3d.core import NO_LUNGS, CaseResult, GeometryError, IntakeError, Nodule, Volume
from lungseg3d.io import CaseFolder, ReadOptions, open_ct, read_labels, time_point_header
from lungseg3d.workflows.listing.maps import read_findings


@dataclass(frozen=True, eq=False)
class Examination:
    """One time point.

    Attributes:
        result: its record; every finding with the interval of its volume, every candidate with its reason.
        labels: lungs and listed nodules, on the CT's grid.
        findings: nodules and candidates by their number, on the same grid.
        ct: None where it was not given.
        header: whose CT it is and of which day, by its DICOM files or the SEG beside its masks; in memory alone.
    """

    result: CaseResult
    labels: Volume
    findings: Volume
    ct: Volume | None = None
    header: Dataset | None = None

    @cached_property
    def chest(self) -> Chest:
        """What registration takes of it."""
        return Chest(self.labels, self.ct)

    @property
    def density(self) -> DensityAt | None:
        """What the CT shows at its findings; None without the CT."""
        return None if self.ct is None else DensityAt(self.ct, self.findings)


def examine(folder: CaseFolder, ct: Path | None, options: ReadOptions) -> Examination:
    """Read a case that was segmented, and its CT.

    Args:
        folder: with `result.json`, `labels.nii.gz`, `nodules.nii.gz` and, where it has candidates,
            `candidates.nii.gz`.
        ct: the CT that was segmented; None = it is not at hand.
        options: how to read it.

    Raises:
        IntakeError: E_NOT_A_RESULT, or as `open_ct`.
        GeometryError: E_GRID_MISMATCH when the CT is another one.
    """
    result = _record(folder)
    labels, findings = read_labels(folder.labels), read_findings(folder, len(result.candidates)).all
    listed = tuple(_with_interval(nodule, findings) for nodule in result.nodules)
    behind = tuple(
        _with_interval(replace(candidate, reason=candidate.reason or "below-point"), findings)
        for candidate in result.candidates
    )
    result = replace(result, nodules=listed, candidates=behind)
    if ct is None:
        return Examination(result, labels, findings, header=time_point_header((), folder.seg))
    reading = open_ct(ct, options)
    if not reading.volume.grid.matches(labels.grid):
        raise GeometryError(
            "E_GRID_MISMATCH",
            f"{folder.name} was not made from {Path(ct).name}: its grid has {labels.grid}, the CT's "
            f"{reading.volume.grid}.",
            "Give the CT that was segmented.",
        )
    files = reading.files if reading.source.get("format") == "DICOM" else ()
    return Examination(result, labels, findings, reading.volume, time_point_header(files, folder.seg))


def _record(folder: CaseFolder) -> CaseResult:
    result = folder.record()
    if result.status != "done":
        reasons = "; ".join(f"{i.code}: {i.message}" for i in result.issues if i.code.startswith(("E_", "W_NO_LUNG")))
        said = "no lungs were found" if result.status == NO_LUNGS else f"the case was {result.status}"
        what = f"{said} ({reasons})." if reasons else f"{said}."
        raise IntakeError("E_NOT_A_RESULT", f"{folder.name}: {what}", "Segment the CT again.")
    if absent := folder.absent(*folder.MASKS):
        what = f"{folder.name}: {' and '.join(absent)} missing."
        raise IntakeError("E_NOT_A_RESULT", what, "Segment it with nifti among the formats.")
    return result


def _with_interval(nodule: Nodule, findings: Volume) -> Nodule:
    """The finding with the interval of its volume, which records of earlier versions lack."""
    if nodule.volume.low_mm3 is not None and nodule.volume.high_mm3 is not None:
        return nodule
    mask = findings.array == nodule.id
    if not mask.any():
        what, name = ("candidate", CaseFolder.CANDIDATES) if nodule.reason else ("nodule", CaseFolder.NODULES)
        text = f"{what} {nodule.id} of the record has no voxels in {name}."
        raise IntakeError("E_NOT_A_RESULT", text, "Segment the CT again.")
    (place,) = ndimage.find_objects(mask.astype("u1"))
    low, high = volume_interval_mm3(mask[place], findings.spacing_mm, findings.voxel_volume_mm3)
    return replace(nodule, volume=replace(nodule.volume, low_mm3=low, high_mm3=high))
