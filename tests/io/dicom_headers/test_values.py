"""The short way to a value gives what pydicom gives."""

import io
import struct

import pydicom
import pytest
from pydicom.dataset import Dataset

from lungseg3d.io.dicom_headers.values import has, short_of, text_of, value_of


def data_set(keyword: str, vr: str, value: bytes, implicit: bool = False, little: bool = True) -> Dataset:
    """A data set of one element, as it is read from a file."""
    tag, order = pydicom.tag.Tag(keyword), "<" if little else ">"
    head = struct.pack(order + "HH", tag.group, tag.element)
    head += struct.pack(order + "L", len(value)) if implicit else vr.encode() + struct.pack(order + "H", len(value))
    with pydicom.config.disable_value_validation():
        return pydicom.filereader.read_dataset(io.BytesIO(head + value), implicit, little)


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "expected"),
    [
        ("PixelSpacing", "DS", b"0.7\\0.8 ", [0.7, 0.8]),
        ("RescaleIntercept", "DS", b" -1024 ", -1024.0),
        ("KVP", "DS", b"1.2E+02 ", 120.0),
        ("NumberOfFrames", "IS", b"12", 12),
        ("AcquisitionNumber", "IS", b"-3", -3),
        ("ImageType", "CS", b"ORIGINAL\\PRIMARY\\AXIAL ", ["ORIGINAL", "PRIMARY", "AXIAL"]),
        ("Modality", "CS", b"CT", "CT"),
        ("SOPInstanceUID", "UI", b"1.2.3\0", "1.2.3"),
        ("Manufacturer", "LO", "Nürnberg ".encode("latin-1"), None),
        ("Modality", "CS", b"", None),
        ("PixelSpacing", "DS", b"", None),
        ("RescaleSlope", "UN", b"1 ", 1.0),
    ],
)
@pytest.mark.parametrize("implicit", [False, True])
def test_a_value_is_what_pydicom_makes_of_it(keyword, vr, value, expected, implicit):
    short, long = (data_set(keyword, vr, value, implicit or vr == "UN") for _ in range(2))
    by_pydicom = long[keyword].value
    if expected is None:
        assert value_of(short, keyword) in (None, by_pydicom)
    else:
        assert value_of(short, keyword) == expected == by_pydicom


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize(("vr", "number"), [("US", 63536), ("SS", -2000)])
def test_a_short_is_read_in_its_byte_order(vr, number, little):
    value = struct.pack(("<" if little else ">") + ("H" if vr == "US" else "h"), number)
    assert value_of(data_set("PixelPaddingValue", vr, value, little=little), "PixelPaddingValue") == number


@pytest.mark.parametrize("value", [b"abc ", b"1,5 ", b"1e", b"--1 ", b"1_0 "])
def test_what_is_no_number_is_left_to_pydicom(value):
    dataset, twin = (data_set("RescaleSlope", "DS", value) for _ in range(2))
    assert value_of(dataset, "RescaleSlope") == twin["RescaleSlope"].value


def test_an_absent_element_and_an_empty_one_differ_only_in_being_there():
    dataset = data_set("Modality", "CS", b"")
    assert has(dataset, "Modality")
    assert not has(dataset, "PatientID")
    assert text_of(dataset, "Modality") == text_of(dataset, "PatientID") == ""


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "expected"),
    [
        ("ImageType", "CS", b"DERIVED \\ SECONDARY\\MIP  ", ["DERIVED", "SECONDARY", "MIP"]),
        ("ImageType", "CS", b"original\\primary\0\\localizer ", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        ("Modality", "CS", b"  ct", "CT"),
        ("Modality", "CS", b"CT\0\0", "CT"),
        ("PatientPosition", "CS", b" hfs ", "HFS"),
        ("PhotometricInterpretation", "CS", b"\0Monochrome2 ", "MONOCHROME2"),
        ("RescaleType", "LO", b"  HU ", "HU"),
        ("ConvolutionKernel", "SH", b" B30f\\ 3 ", ["B30f", "3"]),
        ("SeriesInstanceUID", "UI", b" 1.2.3 ", "1.2.3"),
        ("SOPClassUID", "UI", b"1.2.3\0\0\0", "1.2.3"),
        ("PixelSpacing", "DS", b" 0.7 \\ 0.8\0", [0.7, 0.8]),
        ("RescaleSlope", "DS", b"1\0\0\0", 1.0),
        ("NumberOfFrames", "IS", b"  12\0", 12),
        ("Modality", "CS", b"    ", None),
        ("KVP", "DS", b" \0  ", None),
        ("Manufacturer", "LO", " Nürnberg ".encode("latin-1"), "N\xfcrnberg"),
        ("Modality", "UN", b" ct ", "CT"),
        ("RescaleSlope", "UN", b" 1\0", 1.0),
    ],
)
def test_spaces_nuls_and_lower_case_that_mean_nothing_are_gone(keyword, vr, value, expected):
    assert value_of(data_set(keyword, vr, value, implicit=vr == "UN"), keyword) == expected


@pytest.mark.parametrize("little", [True, False])
def test_a_short_is_read_by_its_tag_in_a_group_that_repeats(little):
    dataset = data_set(0x60020102, "US", struct.pack("<H" if little else ">H", 15), little=little)
    assert short_of(dataset, 0x60020102) == 15
    assert short_of(dataset, 0x60000102) is None
    assert short_of(data_set(0x60020102, "US", b""), 0x60020102) is None
