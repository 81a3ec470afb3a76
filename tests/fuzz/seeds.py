"""Tiny valid inputs of every format, which the fuzzer then spoils.

In: a scratch folder. Out: `Seed`s, each a few files of a few hundred bytes that the reader accepts as they are.
Made by pydicom, gdcm, nibabel and SimpleITK, so that nothing here knows how our reader reads.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gdcm
import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

ROOT_UID = "1.2.826.0.1.3680043.8.498.7"
_SHAPE = (8, 7, 4)  # columns, rows, slices
_GDCM_SYNTAXES = {
    "jpeg lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "jpeg-ls": gdcm.TransferSyntax.JPEGLSLossless,
    "jpeg 2000": gdcm.TransferSyntax.JPEG2000Lossless,
}


@dataclass(frozen=True)
class Seed:
    """One input.

    Attributes:
        kind: row of the summary table, and which mutations know its fields.
        name: what it is, for people.
        files: relative path -> bytes.
        entry: relative path that is opened; empty for the folder itself.
    """

    kind: str
    name: str
    files: dict[str, bytes]
    entry: str = ""


def make_seeds(scratch: Path) -> list[Seed]:
    """Every seed; `scratch` is used for the writers that need a file."""
    scratch.mkdir(parents=True, exist_ok=True)
    return [*_dicom_seeds(scratch), *_nifti_seeds(), *_itk_seeds(scratch), *_manifest_seeds()]


def stored_values() -> np.ndarray:
    """(columns, rows, slices), HU: air around a body."""
    hu = np.full(_SHAPE, -1000, np.int16)
    hu[2:6, 2:5] = 40
    hu[3, 3] = 300
    return hu + np.random.default_rng(3).integers(-9, 9, _SHAPE).astype(np.int16)


def _common(sop_class: str, syntax: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, syntax
    meta.MediaStorageSOPInstanceUID = ROOT_UID + ".9"
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    d = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=implicit, is_little_endian=little)
    d.SpecificCharacterSet, d.ImageType = "ISO_IR 192", ["ORIGINAL", "PRIMARY", "AXIAL"]
    d.SOPClassUID, d.Modality, d.PatientID, d.PatientName = sop_class, "CT", "SEED", "Seed^A"
    d.Manufacturer, d.ConvolutionKernel, d.KVP, d.PatientPosition = "Nobody", "STANDARD", "120", "HFS"
    d.StudyInstanceUID, d.SeriesInstanceUID = ROOT_UID + ".1", ROOT_UID + ".2"
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.Columns, d.Rows = _SHAPE[:2]
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
    return d


def make_slice(k: int, syntax: str = ExplicitVRLittleEndian) -> FileDataset:
    """Slice `k` of the small series, uncompressed."""
    d = _common(CTImageStorage, syntax)
    d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = f"{ROOT_UID}.3.{k}"
    d.InstanceNumber, d.AcquisitionNumber, d.SliceThickness = k + 1, 1, "2.5"
    d.ImagePositionPatient, d.ImageOrientationPatient = [-3, -4, 2.5 * k], [1, 0, 0, 0, 1, 0]
    d.PixelSpacing, d.RescaleSlope, d.RescaleIntercept, d.RescaleType = [0.7, 0.8], "1", "-24", "HU"
    d.PixelPaddingValue = -2000
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    d.PixelData = (stored_values()[:, :, k].T + 24).astype(order + "i2").tobytes()
    d["PixelData"].VR = "OW"
    return d


def bytes_of(dataset: FileDataset) -> bytes:
    """The file of a data set."""
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _compressed_slice(k: int, syntax: str, scratch: Path) -> bytes:
    if syntax == "rle":
        dataset = make_slice(k)
        dataset.compress(RLELossless, generate_instance_uid=False)
        return bytes_of(dataset)
    source, target = scratch / "plain.dcm", scratch / "packed.dcm"
    source.write_bytes(bytes_of(make_slice(k)))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(_GDCM_SYNTAXES[syntax]))
    change.SetInput(reader.GetImage())
    if not change.Change():
        raise RuntimeError(f"gdcm cannot write {syntax}")
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.Write()
    return target.read_bytes()


def make_enhanced(syntax: str = ExplicitVRLittleEndian) -> FileDataset:
    """The small series as one enhanced multi-frame file."""
    d = _common(EnhancedCTImageStorage, syntax)
    d.SOPInstanceUID, d.NumberOfFrames = ROOT_UID + ".4", _SHAPE[2]
    shared, measures, orientation, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.8], "2.5"
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", "-24", "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([values])
    d.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in range(_SHAPE[2]):
        frame, position, kind = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient, kind.FrameType = [-3, -4, 2.5 * k], ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        frame.PlanePositionSequence, frame.CTImageFrameTypeSequence = Sequence([position]), Sequence([kind])
        frames.append(frame)
    d.PerFrameFunctionalGroupsSequence = Sequence(frames)
    d.PixelData = (stored_values().T + 24).astype("<i2").tobytes()
    d["PixelData"].VR = "OW"
    return d


def _dicom_seeds(scratch: Path) -> Iterator[Seed]:
    count = _SHAPE[2]
    plain = {f"{k}.dcm": bytes_of(make_slice(k)) for k in range(count)}
    yield Seed("dicom folder", "explicit little endian", plain)
    yield Seed("dicom folder", "two slices", {name: plain[name] for name in ("0.dcm", "1.dcm")})
    for name, syntax in (
        ("implicit", ImplicitVRLittleEndian),
        ("big endian", ExplicitVRBigEndian),
        ("deflated", DeflatedExplicitVRLittleEndian),
    ):
        yield Seed("dicom folder", name, {f"{k}.dcm": bytes_of(make_slice(k, syntax)) for k in range(2)})
    yield Seed("dicom folder", "no preamble", {f"{k}.dcm": plain[f"{k}.dcm"][132:] for k in range(2)})
    for syntax in ("rle", *_GDCM_SYNTAXES):
        files = {f"{k}.dcm": _compressed_slice(k, syntax, scratch) for k in range(2)}
        yield Seed("dicom folder", syntax, files)
    yield Seed("dicom slice", "one slice", {"0.dcm": plain["0.dcm"]}, "0.dcm")
    for name, syntax in (("explicit little endian", ExplicitVRLittleEndian), ("implicit", ImplicitVRLittleEndian)):
        yield Seed("enhanced", name, {"e.dcm": bytes_of(make_enhanced(syntax))}, "e.dcm")
    for name, method in (("deflated", zipfile.ZIP_DEFLATED), ("stored", zipfile.ZIP_STORED)):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as archive:
            for k in range(2):
                archive.writestr(f"s/{k}.dcm", plain[f"{k}.dcm"])
        yield Seed("zip", name, {"s.zip": packed.getvalue()}, "s.zip")


def _nifti_seeds() -> Iterator[Seed]:
    affine = np.array([[-0.8, 0, 0, 3], [0, -0.7, 0, 4], [0, 0, 2.5, 0], [0, 0, 0, 1]])
    for name, kind, dtype in (
        ("NIfTI-1", nibabel.Nifti1Image, np.int16),
        ("NIfTI-1 float", nibabel.Nifti1Image, np.float32),
        ("NIfTI-2", nibabel.Nifti2Image, np.int32),
    ):
        image = kind(stored_values().astype(dtype), affine)
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
        image.header.set_xyzt_units("mm")
        image.header.set_slope_inter(1, 0)
        yield Seed("nifti", name, {"v.nii": image.to_bytes()}, "v.nii")
    from gzip import compress

    yield Seed("nifti.gz", "NIfTI-2", {"v.nii.gz": compress(image.to_bytes(), mtime=0)}, "v.nii.gz")


def _itk_seeds(scratch: Path) -> Iterator[Seed]:
    image = sitk.GetImageFromArray(stored_values().T)
    image.SetSpacing((0.8, 0.7, 2.5))
    image.SetOrigin((-3.0, -4.0, 0.0))
    for kind, ending, packed in (
        ("nrrd", "nrrd", False),
        ("nrrd", "nrrd", True),
        ("metaimage", "mha", False),
        ("metaimage", "mha", True),
    ):
        path = scratch / f"v.{ending}"
        sitk.WriteImage(image, str(path), packed)
        yield Seed(kind, "compressed" if packed else "raw", {path.name: path.read_bytes()}, path.name)
    for kind, ending, data in (("metaimage", "mhd", "raw"), ("nrrd", "nhdr", "raw")):
        path = scratch / f"d.{ending}"
        sitk.WriteImage(image, str(path), False)
        files = {name: (scratch / name).read_bytes() for name in (path.name, f"d.{data}")}
        yield Seed(kind, "detached", files, path.name)


def _manifest_seeds() -> Iterator[Seed]:
    cases = [
        {"case_id": f"c{n}", "patient": f"p{n}", "fold": n % 2, "files": {"image": "v.nii", "label": "l.nii"},
         "sha256": {"image": "0" * 64}, "facts": {"diameter_mm": 5.5}}
        for n in range(3)
    ]  # fmt: skip
    content = {"name": "seeds", "source": "made", "licence": "CC0", "conventions": {"image": "HU"}, "cases": cases}
    files = {"m.json": json.dumps(content).encode(), "v.nii": b"-", "l.nii": b"-"}
    yield Seed("manifest", "three cases", files, "m.json")


def read_back(data: bytes) -> Dataset:
    """For tests: the data set of a seed's slice."""
    return pydicom.dcmread(io.BytesIO(data))
