"""Rows D08-D12, D46-D49, D59, D60, D65-D67, D73, D77, D78: what else lies in a folder, a zip, a DICOMDIR."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.corpus.case import Made, row
from tests.corpus.phantom import Series, Slice, chest, thinned

_MR, _PET, _CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("4", "128", "7"))
_LOCALIZER = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def _together(folder: Path, **series: Series) -> Path:
    """Several series in one folder, told apart by the beginning of the files' names."""
    for name, one in series.items():
        one.write(folder / "ct", (f"{name}-{number}" for number in one.names()))
    return folder / "ct"


def _two_series(thin_name: str, thick_name: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        thick = thinned(chest(), 2)
        thin_uid, thick_uid = ("1", "2") if thin_name < thick_name else ("2", "1")
        _together(folder, **{thin_name: Series(uid=thin_uid), thick_name: Series(thick, uid=thick_uid)})
        return Made(folder / "ct", chest(), also=(thick,))

    return make


def _asked_for(folder: Path) -> Made:
    made = _two_series("a", "b")(folder)
    return Made(made.path, made.also[0])


def _two_studies(folder: Path) -> Made:
    return Made(_together(folder, a=Series(study="1"), b=Series(study="2")))


def _one_of_two_studies(folder: Path) -> Made:
    return Made(_two_studies(folder).path, chest())


def _with_scout(series_uid: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series()
        scout = series.slices[0].twin(".9")
        d = scout.dataset
        d.ImageType, d.ImageOrientationPatient = _LOCALIZER, [0, 1, 0, 0, 0, -1]
        d.ImagePositionPatient = ["0", "-40", "60"]
        if series_uid:
            d.SeriesInstanceUID = series_uid
        series.slices.insert(0, scout)
        return Made(series.write(folder / "ct"), series.volume)

    return make


def _tagged(**tags: object) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series(**tags)
        if "SOPClassUID" in tags:
            for one in series.slices:
                one.dataset.file_meta.MediaStorageSOPClassUID = tags["SOPClassUID"]
        return Made(series.write(folder / "ct"), series.volume if "ImageType" in tags else None)

    return make


def _colour(folder: Path) -> Made:
    series = Series(SOPClassUID=_CAPTURE, Modality="OT", SamplesPerPixel=3, PhotometricInterpretation="RGB")
    series.each(BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, PlanarConfiguration=0)
    for one in series.slices:
        d = one.dataset
        d.file_meta.MediaStorageSOPClassUID = _CAPTURE
        d.PixelData = bytes(3 * d.Rows * d.Columns)
    return Made(series.write(folder / "ct"))


def _with_junk(folder: Path) -> Made:
    path = Series().write(folder / "ct")
    for name, data in {
        "notes.txt": b"hello",
        "Thumbs.db": bytes(300),
        ".DS_Store": b"",
        "empty.txt": b"",
        "report.pdf": b"%PDF-1.4 ...",
        "preview.png": b"\x89PNG\r\n\x1a\n",
        "0040.json": b"{}",
    }.items():
        (path / name).write_bytes(data)
    return Made(path, chest())


def _named(names: Callable[[int], str]) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        for n, one in enumerate(Series().slices):
            path = folder / "ct" / names(n)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(one.encoded())
        return Made(folder / "ct", chest())

    return make


def _only(files: dict[str, bytes]) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        (folder / "ct").mkdir()
        for name, data in files.items():
            (folder / "ct" / name).write_bytes(data)
        return Made(folder / "ct")

    return make


def _zipped(*spoil: Callable[[zipfile.ZipFile], object], truth: bool = True) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series()
        with zipfile.ZipFile(folder / "ct.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, one in zip(series.names(), series.slices, strict=True):
                archive.writestr(f"study/series/{name}", one.encoded())
            for add in spoil:
                add(archive)
        return Made(folder / "ct.zip", series.volume if truth else None)

    return make


def _add_link(archive: zipfile.ZipFile) -> None:
    link = zipfile.ZipInfo("study/series/link.dcm")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    archive.writestr(link, "/etc/passwd")


def _add_bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("study/series/bomb.dcm", bytes(200 * 2**20), compresslevel=1)


def dicomdir(*reference: str) -> bytes:
    """A DICOMDIR with one record that refers to a file."""
    index, record = Dataset(), Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    with pydicom.config.disable_value_validation():
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", list(reference)
        index.FileSetID, index.DirectoryRecordSequence = "CT", [record]
        index.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _with_dicomdir(*reference: str, slices: bool = True) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        path = Series().write(folder / ("ct" if slices else "outside"))
        (folder / "ct").mkdir(exist_ok=True)
        (folder / "ct" / "DICOMDIR").write_bytes(dicomdir(*reference))
        return Made(folder / "ct", chest() if path.name == "ct" else None)

    return make


def _with_other_objects(folder: Path) -> Made:
    series = Series()
    first = series.slices[0].encoded()
    for n, (modality, number) in enumerate((("RTSTRUCT", "481.3"), ("SEG", "66.4"), ("SR", "88.33"))):
        other = Slice(first)
        d = other.dataset
        d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{number}"
        d.Modality, d.SeriesInstanceUID, d.SOPInstanceUID = modality, f"1.2.826.7.{n}", f"1.2.826.7.{n}.1"
        if modality != "SEG":
            del d.PixelData, d.Rows, d.Columns
        series.slices.insert(n, other)
    return Made(series.write(folder / "ct"), series.volume)


_MIP = ["DERIVED", "SECONDARY", "MIP"]

CASES = (
    row("D08", "two series, thick UID first", _two_series("b", "a"), "W_MULTI_SERIES", says="1.2.826.1.1 (20 slices)"),
    row("D09", "two series, thin UID first", _two_series("a", "b"), "W_MULTI_SERIES", says="1.2.826.1.2 (20 slices)"),
    row("D09-asked", "two series, the thick one asked for", _asked_for, "W_MULTI_SERIES", series="1.2.826.1.2"),
    row("D09-absent", "a series asked for that is not there", _asked_for, "E_SERIES_NOT_FOUND", series="1.2.3"),
    row("D10", "two patients in a folder", _two_studies, "E_MIXED_STUDIES"),
    row("D10-asked", "two patients, one series asked for", _one_of_two_studies, "W_MULTI_SERIES", series="1.2.826.2.1"),
    row("D10-study", "two patients, one study asked for", _one_of_two_studies, study="1.2.826.2"),
    row("D11", "a scout under its own UID", _with_scout("1.2.826.1.0.5"), "W_LOCALIZER_DROPPED"),
    row("D12", "a scout inside the axial series", _with_scout(""), "W_LOCALIZER_DROPPED"),
    row("D46", "MR given as CT", _tagged(SOPClassUID=_MR, Modality="MR"), "E_NOT_CT", says="MR"),
    row("D46-liar", "MR that calls its SOP class CT", _tagged(Modality="MR"), "E_NOT_CT", says="MR"),
    row("D47", "PET given as CT", _tagged(SOPClassUID=_PET, Modality="PT"), "E_NOT_CT", says="PT"),
    row("D48", "RGB secondary capture", _colour, "E_NOT_CT"),
    row("D49", "a derived MIP", _tagged(ImageType=_MIP), "W_DERIVED_IMAGE"),
    row("D49-strict", "a derived MIP, strictly", _tagged(ImageType=_MIP), "E_DERIVED_IMAGE", strict=True),
    row("D59", "junk beside the slices", _with_junk),
    row("D60", "no extensions", _named(lambda n: f"IM{n:05d}")),
    row("D65", "slices over sub-folders", _named(lambda n: f"S{n % 7}/deeper/I{n:03d}.dcm")),
    row("D66", "spaces, umlauts and a newline in names", _named(lambda n: f"ct d'été\n{n % 2}/Bäuchlein {n}.dcm")),
    row("D67", "an empty folder", _only({}), "E_NO_DICOM"),
    row("D67-junk", "a folder of junk", _only({"a.txt": b"x" * 500, "b.dcm": b"<html>no</html>"}), "E_NO_DICOM"),
    row("D73", "a zip of the series", _zipped()),
    row(
        "D73-up",
        "a zip whose member leads out of it",
        _zipped(lambda archive: archive.writestr("../../evil.dcm", b"x"), truth=False),
        "E_UNSAFE_ARCHIVE",
    ),
    row("D73-link", "a zip with a link", _zipped(_add_link, truth=False), "E_UNSAFE_ARCHIVE"),
    row("D73-bomb", "a zip bomb", _zipped(_add_bomb, truth=False), "E_RESOURCE_LIMIT", heavy=True),
    row(
        "D77",
        "a DICOMDIR that leads out of the folder",
        _with_dicomdir("..", "outside", "0000.dcm", slices=False),
        "E_UNSAFE_ARCHIVE",
        says="DICOMDIR",
    ),
    row(
        "D77-beside",
        "the same, beside a whole series",
        _with_dicomdir("..", "..", "etc", "passwd"),
        "E_UNSAFE_ARCHIVE",
        says="DICOMDIR",
    ),
    row("D77-plain", "a DICOMDIR that stays inside", _with_dicomdir("0000.dcm")),
    row("D78", "RTSTRUCT, SEG and SR beside the series", _with_other_objects),
)
