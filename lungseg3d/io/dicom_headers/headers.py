"""One DICOM file -> what its header says about its slices; absent tags stay None, nothing is filled in.

In: a file, or a member of a zip. Out: `DicomFile` with one `Frame` per slice. Knows nothing of other files.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import replace
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom_headers.body_parts import body_parts
from lungseg3d.io.dicom_headers.records import ByteSource, DicomFile, Frame, Pixels
from lungseg3d.io.dicom_headers.values import has, short_of, tag_of, text_of, value_of
from lungseg3d.io.intake.limits import inflate
from lungseg3d.io.intake.reading import refuse, shown

DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DICOMDIR = "1.2.840.10008.1.3.10"
_PIXEL_TAGS = {Tag(0x7FE00008): "FloatPixelData", Tag(0x7FE00009): "DoubleFloatPixelData", Tag(0x7FE00010): "PixelData"}
_KEYWORDS = (
    "SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID Modality Manufacturer ManufacturerModelName PatientID "
    "SliceThickness KVP ConvolutionKernel PatientPosition StudyInstanceUID SeriesInstanceUID "
    "AcquisitionNumber ImagePositionPatient ImageOrientationPatient SamplesPerPixel "
    "PhotometricInterpretation NumberOfFrames Rows Columns PixelSpacing BitsAllocated BitsStored HighBit "
    "PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept RescaleSlope RescaleType "
    "LossyImageCompression LossyImageCompressionRatio ImagesInAcquisition SharedFunctionalGroupsSequence "
    "PerFrameFunctionalGroupsSequence FrameOfReferenceUID SeriesNumber InstanceNumber "
    "BodyPartExamined SeriesDescription ProtocolName"
).split()
_PART_KEYWORDS = ("BodyPartExamined", "ProtocolName", "SeriesDescription")
# pydicom applies these to the top level only; what lies inside the functional groups comes whole.
_OVERLAY_BIT_POSITIONS = [Tag(group, 0x0102) for group in range(0x6000, 0x6020, 2)]
_TAGS: list[Any] = [*(tag_of(keyword) for keyword in _KEYWORDS), *_OVERLAY_BIT_POSITIONS]


def read_header(place: ByteSource) -> DicomFile:
    """Parse one DICOM file up to its pixels.

    Raises:
        IntakeError: E_UNREADABLE_SLICE when it cannot be parsed, E_RESOURCE_LIMIT for a deflate bomb.
    """
    with place.open() as stream:
        try:
            return _parse(place, stream)
        except IntakeError:
            raise
        except (Exception, RecursionError) as error:  # a hostile header can make pydicom raise anything
            text = " ".join(str(error).split())[:120] or type(error).__name__
            refuse(
                "E_UNREADABLE_SLICE",
                f"{shown(place.name)}: {place.size()} bytes that cannot be parsed as DICOM ({text}).",
                "Export the series again.",
            )


def _parse(place: ByteSource, stream: BinaryIO) -> DicomFile:
    start = stream.read(4096)
    stream.seek(0)
    has_preamble = start[128:132] == b"DICM"
    body: BinaryIO = stream
    if DEFLATED.encode() in start:
        dataset, body, place = _read_deflated(place, stream)
    else:
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=not has_preamble, specific_tags=_TAGS)
    meta = getattr(dataset, "file_meta", Dataset())
    syntax = text_of(meta, "TransferSyntaxUID")
    implicit, little = dataset.original_encoding
    if not syntax:
        syntax = _IMPLICIT if implicit else ("1.2.840.10008.1.2.1" if little else _BIG_ENDIAN)
    pixels = _pixels(dataset, *_find_pixels(body, bool(implicit), bool(little)))
    media_class = text_of(meta, "MediaStorageSOPClassUID")
    # pydicom takes a file that ends inside its header for a short one.
    has_identity = bool(value_of(dataset, "SOPClassUID")) and has(dataset, "SeriesInstanceUID")
    if not pixels.keyword and not has_identity and media_class != DICOMDIR:
        raise ValueError("it ends inside its header")
    return DicomFile(
        place=place,
        sop_class=text_of(dataset, "SOPClassUID") or media_class,
        sop_uid=text_of(dataset, "SOPInstanceUID"),
        series_uid=text_of(dataset, "SeriesInstanceUID"),
        study_uid=text_of(dataset, "StudyInstanceUID"),
        patient_hash=hashlib.sha256(text_of(dataset, "PatientID").encode()).hexdigest()[:16],
        modality=text_of(dataset, "Modality"),
        transfer_syntax=syntax,
        has_preamble=has_preamble,
        pixels=pixels,
        frames=_frames(dataset),
        about=_about(dataset),
        frame_uid=_odd_text(dataset, "FrameOfReferenceUID"),
        series_number=_odd_text(dataset, "SeriesNumber"),
        instance_number=_odd_text(dataset, "InstanceNumber"),
    )


def _read_deflated(place: ByteSource, stream: BinaryIO) -> tuple[Dataset, BinaryIO, ByteSource]:
    """As `dcmread`, but the inflation is bounded; the pixel offset counts from the start of the inflated data."""
    meta = _file_meta(stream)
    body = io.BytesIO(inflate(shown(place.name), stream, place.size()))
    dataset = read_dataset(body, False, True, stop_when=_at_pixels, specific_tags=_TAGS)
    dataset.set_original_encoding(False, True, None)
    dataset.file_meta = meta
    return dataset, body, replace(place, deflated=True)


def inflated(place: ByteSource) -> BinaryIO:
    """The data set of a deflated file, as `read_header` saw it."""
    with place.open() as stream:
        _file_meta(stream)
        return io.BytesIO(inflate(shown(place.name), stream, place.size()))


def _file_meta(stream: BinaryIO) -> Any:
    """Group 2 of the file; leaves the stream at the first byte after it."""
    stream.seek(132)
    group2 = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    return pydicom.dataset.FileMetaDataset(group2)


def _at_pixels(tag: Any, vr: str | None, length: int) -> bool:
    is_pixel_data: bool = tag >= 0x7FE00008
    return is_pixel_data


def _find_pixels(stream: BinaryIO, implicit: bool, little: bool) -> tuple[str, int, int | None]:
    """(keyword, offset of the value, its length; None = encapsulated) of the element that the stream stands at."""
    order = "<" if little else ">"
    head = stream.read(8)
    if len(head) < 8:
        return "", 0, 0
    group, element = struct.unpack(order + "HH", head[:4])
    keyword = _PIXEL_TAGS.get(Tag(group, element), "")
    if not keyword:
        return "", 0, 0
    if implicit:
        (length,) = struct.unpack(order + "L", head[4:])
    else:
        (length,) = struct.unpack(order + "L", stream.read(4))
    return keyword, stream.tell(), None if length == 0xFFFFFFFF else length


def _numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    value = value_of(dataset, keyword)
    if value is None or isinstance(value, (str, bytes, float, int)) or len(value) != count:
        return None
    return tuple(float(v) for v in value)


def _number(dataset: Dataset, keyword: str) -> float | None:
    value = value_of(dataset, keyword)
    return float(value) if hasattr(value, "__float__") else None


def _integer(dataset: Dataset, keyword: str) -> int | None:
    value = _number(dataset, keyword)
    return None if value is None else int(value)


def _words(value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    values = [value] if isinstance(value, (str, int, float)) else value
    return tuple(f"{v:g}" if isinstance(v, float) else str(v) for v in values)


def _pixels(dataset: Dataset, keyword: str, offset: int, length: int | None) -> Pixels:
    representation = _integer(dataset, "PixelRepresentation")
    first, last = (_padding(value_of(dataset, f"PixelPadding{end}")) for end in ("Value", "RangeLimit"))
    padding = None if first is None else (first, first if last is None else last)
    return Pixels(
        keyword=keyword,
        offset=offset,
        length=length,
        rows=_integer(dataset, "Rows"),
        columns=_integer(dataset, "Columns"),
        samples=_integer(dataset, "SamplesPerPixel"),
        photometric=text_of(dataset, "PhotometricInterpretation"),
        bits_allocated=_integer(dataset, "BitsAllocated"),
        bits_stored=_integer(dataset, "BitsStored"),
        high_bit=_integer(dataset, "HighBit"),
        signed=None if representation is None else representation == 1,
        padding=padding,
        overlay_bits=_overlay_bits(dataset),
        number_of_frames=_integer(dataset, "NumberOfFrames") or 1,
    )


def _overlay_bits(dataset: Dataset) -> int:
    """The bits of a pixel that hold overlays by the header (60xx,0102), as a mask; bit 0 is a place of their own.

    Retired, and found in old CTs: PS3.5-2004 8.1.2.
    """
    positions = (short_of(dataset, tag) for tag in _OVERLAY_BIT_POSITIONS)
    return sum({1 << position for position in positions if position and position < 32})


def _padding(value: Any) -> int | None:
    """Padding as a number; a value left as bytes (wrong VR) is its little-endian 16 bits."""
    if value is None or value == "":
        return None
    if isinstance(value, bytes):
        return int.from_bytes(value[:2], "little") if len(value) >= 2 else None
    return int(value) if hasattr(value, "__int__") else None


def _frames(dataset: Dataset) -> tuple[Frame, ...]:
    if not has(dataset, "PerFrameFunctionalGroupsSequence"):
        return (_frame(0, [dataset], _words(value_of(dataset, "ImageType"))),)
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    frames = []
    if not dataset.PerFrameFunctionalGroupsSequence:
        raise ValueError("its list of frames is empty")
    for index, own in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        groups = [_group(own, shared[0], name) for name in _GROUPS]
        types = _words(value_of(groups[-1], "FrameType")) or _words(value_of(dataset, "ImageType"))
        frames.append(_frame(index, groups, types))
    return tuple(frames)


_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence",
)


def _group(own: Dataset, shared: Dataset, name: str) -> Dataset:
    """A functional group: the frame's own before the shared one (PS3.3 C.7.6.16)."""
    sequence = own.get(name) or shared.get(name)
    return sequence[0] if sequence else Dataset()


def _frame(index: int, groups: list[Dataset], image_type: tuple[str, ...]) -> Frame:
    def where(keyword: str) -> Dataset:
        return next((group for group in groups if has(group, keyword)), groups[0])

    return Frame(
        index=index,
        position_mm=_numbers(where("ImagePositionPatient"), "ImagePositionPatient", 3),
        orientation=_numbers(where("ImageOrientationPatient"), "ImageOrientationPatient", 6),
        pixel_spacing_mm=_numbers(where("PixelSpacing"), "PixelSpacing", 2),
        slope=_number(where("RescaleSlope"), "RescaleSlope"),
        intercept=_number(where("RescaleIntercept"), "RescaleIntercept"),
        rescale_type=text_of(where("RescaleType"), "RescaleType"),
        thickness_mm=_number(where("SliceThickness"), "SliceThickness"),
        image_type=image_type,
    )


def _odd_text(dataset: Dataset, keyword: str) -> str:
    """The value as text even where it is none of its kind: no pixel depends on it, so it makes no slice unreadable."""
    try:
        return text_of(dataset, keyword)
    except Exception:  # pydicom may raise anything for a value that it cannot convert
        return "?"


def _about(dataset: Dataset) -> dict[str, Any]:
    """What the record says about the source; nothing here identifies a person."""
    return {
        "manufacturer": text_of(dataset, "Manufacturer"),
        "model": text_of(dataset, "ManufacturerModelName"),
        "kernel": "/".join(_words(value_of(dataset, "ConvolutionKernel"))),
        "kvp": _number(dataset, "KVP"),
        "patient_position": text_of(dataset, "PatientPosition"),
        "lossy": text_of(dataset, "LossyImageCompression") == "01",
        "lossy_ratio": "/".join(_words(value_of(dataset, "LossyImageCompressionRatio"))),
        "acquisition": text_of(dataset, "AcquisitionNumber"),
        # Never the words themselves: people write names into them.
        "parts": {keyword: body_parts(text_of(dataset, keyword)) for keyword in _PART_KEYWORDS},
        "images_in_acquisition": _integer(dataset, "ImagesInAcquisition"),
    }
