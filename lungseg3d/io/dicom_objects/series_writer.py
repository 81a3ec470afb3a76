"""`Volume` -> a CT Image Storage series, for phantoms and tests.

In: int16 HU. Out: one file per slice, the same bytes every time. The patient is made up.
Source: DICOM PS3.3 A.3 (CT Image IOD), its type 1 and type 2 attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lungseg3d.core import OutputError, Volume
from lungseg3d.io.intake.geometry import LPS_TO_RAS
from lungseg3d.io.storage.files import writing
from lungseg3d.io.storage.folders import make_folder

_INTERCEPT_HU = -1024
_LUNG_WINDOW_HU = (-600, 1500)


@dataclass(frozen=True)
class SeriesSpec:
    """What the headers say beside the geometry.

    Attributes:
        seed: all UIDs are a hash of it; another seed is another patient's study. The series also depends on `number`.
        number: SeriesNumber.
        description: SeriesDescription.
        kernel: ConvolutionKernel.
        kvp: tube voltage in kV.
        thickness_mm: SliceThickness; None = the distance of the slices.
        patient_position: PatientPosition.
        study_date: of study, series and acquisition, YYYYMMDD.
    """

    seed: str = "phantom"
    number: int = 1
    description: str = "Thorax phantom"
    kernel: str = "STANDARD"
    kvp: float = 120.0
    thickness_mm: float | None = None
    patient_position: str = "HFS"
    study_date: str = "20000101"


def write_dicom_series(
    folder: Path | str,
    volume: Volume,
    *,
    spec: SeriesSpec = SeriesSpec(),
) -> tuple[Path, ...]:
    """Write a CT as slices along the axis nearest to head-foot, caudal first.

    The volume is first brought to DICOM's axes (columns to the left, rows to the back, slices upward); a shear along
    the slices is written as a tilted gantry.

    Returns:
        The files in the order of the slices.

    Raises:
        OutputError: E_OUTPUT_EXISTS when the folder is not empty, E_OUTPUT_TYPE when the array is not int16 HU or the
            in-plane axes are not at right angles, E_WRITE, E_NO_SPACE.
    """
    folder = Path(folder)
    ras = volume.as_ras()
    array = ras.array[::-1, ::-1]
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[:2, 3] = ras.shape[0] - 1, ras.shape[1] - 1
    affine = LPS_TO_RAS @ ras.affine @ turn
    if array.dtype != np.int16 or array.max() > 32767 + _INTERCEPT_HU:
        raise OutputError("E_OUTPUT_TYPE", f"{folder}: a CT is written as int16 HU up to 31743, not {array.dtype}.")
    directions = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    if abs(directions[:, 0] @ directions[:, 1]) > 1e-4:
        raise OutputError("E_OUTPUT_TYPE", f"{folder}: DICOM slices have rows and columns at right angles.")
    if any(make_folder(folder).iterdir()):
        raise OutputError("E_OUTPUT_EXISTS", f"{folder}: the folder is not empty.", "Choose another folder.")
    common = _common(affine, directions, array, spec)
    paths = []
    for k in range(array.shape[2]):
        path = folder / f"slice-{k + 1:04d}.dcm"
        _add_slice(common, affine, k, array[:, :, k], spec)
        with writing(path) as file:
            common.save_as(file, enforce_file_format=True)
        paths.append(path)
    return tuple(paths)


def _common(affine: np.ndarray, directions: np.ndarray, array: np.ndarray, spec: SeriesSpec) -> Dataset:
    """What all slices share."""
    d = Dataset()
    d.SpecificCharacterSet = "ISO_IR 192"
    d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    d.SOPClassUID = CTImageStorage
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(d, keyword, spec.study_date)
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(d, keyword, "120000")
    for keyword in ("AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "PatientSex", "StudyID"):
        setattr(d, keyword, "")
    d.Modality, d.Manufacturer, d.ManufacturerModelName = "CT", "lungseg3d", "Phantom"
    d.StudyDescription, d.SeriesDescription = "Phantom, not a patient", spec.description
    d.PatientName, d.PatientID = "PHANTOM", "PHANTOM-" + generate_uid(entropy_srcs=[spec.seed, "patient"])[-8:]
    d.SliceThickness = _decimal(spec.thickness_mm or float(np.linalg.norm(affine[:3, 2])))
    d.KVP, d.ConvolutionKernel, d.PatientPosition = _decimal(spec.kvp), spec.kernel, spec.patient_position
    d.StudyInstanceUID = generate_uid(entropy_srcs=[spec.seed, "study"])
    d.SeriesInstanceUID = generate_uid(entropy_srcs=[spec.seed, "series", str(spec.number)])
    d.FrameOfReferenceUID = generate_uid(entropy_srcs=[spec.seed, "frame of reference"])
    d.PositionReferenceIndicator = ""
    d.SeriesNumber, d.AcquisitionNumber = spec.number, 1
    d.ImageOrientationPatient = [_decimal(v) for v in directions.T.ravel()]
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.Rows, d.Columns = array.shape[1], array.shape[0]
    d.PixelSpacing = [_decimal(float(np.linalg.norm(affine[:3, axis]))) for axis in (1, 0)]
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
    d.WindowCenter, d.WindowWidth = (str(v) for v in _LUNG_WINDOW_HU)
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = str(_INTERCEPT_HU), "1", "HU"
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = CTImageStorage
    return d


def _add_slice(dataset: Dataset, affine: np.ndarray, k: int, plane: np.ndarray, spec: SeriesSpec) -> None:
    position = affine[:3, 3] + k * affine[:3, 2]
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[spec.seed, "instance", str(spec.number), str(k)])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber = k + 1
    dataset.ImagePositionPatient = [_decimal(v) for v in position]
    dataset.SliceLocation = _decimal(position[2])
    dataset.PixelData = np.ascontiguousarray((plane.T - np.int16(_INTERCEPT_HU)).astype("<i2")).tobytes()


def _decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters."""
    for digits in range(14, 5, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.6g}"
