"""DICOM pixels: encodings, padding, rescale, and what is refused."""

import struct
import tracemalloc

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from lungseg3d.io import ReadOptions, open_ct, read_volume
from lungseg3d.io.dicom_headers.headers import read_header
from lungseg3d.io.dicom_headers.records import ByteSource
from lungseg3d.io.dicom_pixels.pixels import VolumePlane, read_planes


def each(series, **tags):
    for dataset in series.slices:
        for tag, value in tags.items():
            setattr(dataset, tag, value)
    return series


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian])
def test_an_encoding_does_not_change_a_voxel(make_series, tmp_path, syntax):
    series = make_series()
    for dataset in series.slices[::2]:  # mixed in one series
        if syntax == RLELossless:
            dataset.compress(RLELossless)
        else:
            dataset.file_meta.TransferSyntaxUID = syntax
    reading = open_ct(series.write(tmp_path / "s"))
    assert reading.issues == ()
    assert np.array_equal(reading.volume.array, series.lps_array)


def test_big_endian_slices_are_read(make_series, tmp_path):
    series = make_series()
    folder = tmp_path / "s"
    folder.mkdir()
    for n, dataset in enumerate(series.slices):
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
        pydicom.dcmwrite(folder / f"{n}.dcm", dataset, little_endian=False, implicit_vr=False)
    assert np.array_equal(read_volume(folder).array, series.lps_array)


def test_an_encoding_without_a_permitted_decoder_is_refused_with_its_uid(make_series, tmp_path, refusal):
    series = make_series()
    for dataset in series.slices:
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        dataset.PixelData = pydicom.encaps.encapsulate([b"\0" * 100])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    error = refusal(series.write(tmp_path / "s"))
    assert error.code == "E_TRANSFER_SYNTAX"
    assert "1.2.840.10008.1.2.4.201" in error.message


def test_broken_compressed_pixels_are_refused_and_the_slice_is_named(make_series, tmp_path, refusal):
    series = make_series()
    broken = series.slices[4]
    broken.file_meta.TransferSyntaxUID = JPEGLSLossless
    broken.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff" + b"\0" * 97])
    broken["PixelData"].is_undefined_length = True
    error = refusal(series.write(tmp_path / "s"))
    assert error.code == "E_UNREADABLE_SLICE"
    assert "004.dcm" in error.message


@pytest.mark.parametrize("items", ["<HHIHHI", "<HHI"], ids=["fragment", "offset table"])
def test_an_item_that_claims_four_gigabytes_is_refused_before_memory_is_taken(make_series, tmp_path, refusal, items):
    series = make_series()
    broken = series.slices[4]
    broken.file_meta.TransferSyntaxUID = JPEGLSLossless
    lengths = [0, 0xFFFFFFF0] if items.count("I") == 2 else [0xFFFFFFF0]
    heads = [number for length in lengths for number in (0xFFFE, 0xE000, length)]
    broken.PixelData = struct.pack(items, *heads) + b"\xff\xd8\xff" + b"\0" * 97
    broken["PixelData"].is_undefined_length = True
    folder = series.write(tmp_path / "s")
    tracemalloc.start()
    error = refusal(folder)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.code == "E_UNREADABLE_SLICE"
    assert taken < 100 * 2**20


def test_rescale_is_applied_slice_by_slice(make_series, tmp_path):
    series = make_series()
    for k, dataset in enumerate(series.slices):
        stored = (np.frombuffer(dataset.PixelData, "<i2") - 1024 + 1000 + k) * 2
        dataset.PixelData, dataset.RescaleSlope, dataset.RescaleIntercept = stored.tobytes(), "0.5", str(-1000 - k)
    assert np.array_equal(read_volume(series.write(tmp_path / "s")).array, series.lps_array)


@pytest.mark.parametrize("signed", [True, False])
def test_padding_becomes_air(make_series, tmp_path, signed):
    series = make_series()
    expected = np.array(series.lps_array)
    expected[:2] = -1000
    for dataset in series.slices:
        stored = np.frombuffer(dataset.PixelData, "<i2").reshape(20, 24).copy()
        stored[:, :2] = -2000
        dataset.PixelData = stored.tobytes()
        dataset.PixelRepresentation = int(signed)
        dataset.PixelPaddingValue = -2000 if signed else 63536
        dataset["PixelPaddingValue"].VR = "SS" if signed else "US"
    reading = open_ct(series.write(tmp_path / "s"))
    assert reading.issues == ()
    assert np.array_equal(reading.volume.array, expected)


def test_a_padding_value_that_means_water_spares_the_water_inside(make_series, tmp_path, codes_of):
    series = make_series()
    for dataset in series.slices:
        stored = np.frombuffer(dataset.PixelData, "<i2").reshape(20, 24).copy()
        stored[:2] = 1024
        stored[10, 12] = 1024
        dataset.PixelData = stored.tobytes()
        dataset.PixelPaddingValue = 1024
        dataset["PixelPaddingValue"].VR = "SS"
    reading = open_ct(series.write(tmp_path / "s"))
    assert codes_of(reading) == {"W_PADDING_VALUE"}
    assert (reading.volume.array[:, :2] == -1000).all()
    assert (reading.volume.array[12, 10] == 0).all()


def twelve_bits(series):
    """Unsigned, 12 of 16 bits, intercept -1024, as many scanners write."""
    each(series, PixelRepresentation=0, BitsStored=12, HighBit=11)
    for dataset in series.slices:
        dataset.PixelData = np.clip(np.frombuffer(dataset.PixelData, "<i2"), 0, 4095).astype("<u2").tobytes()
    return series


def test_rubbish_above_the_stored_bits_is_cut(make_series, tmp_path, codes_of):
    series = twelve_bits(make_series())
    clean = read_volume(series.write(tmp_path / "clean")).array
    rng = np.random.default_rng(2)
    for dataset in series.slices:
        stored = np.frombuffer(dataset.PixelData, "<u2")
        dataset.PixelData = (stored | (rng.integers(0, 16, stored.size).astype("<u2") << 12)).tobytes()
    reading = open_ct(series.write(tmp_path / "s"))
    assert codes_of(reading) == {"W_HIGH_BITS_SET"}
    assert np.array_equal(reading.volume.array, clean)


def draw_overlay(dataset, *positions, where=np.s_[4:9, 6:18], declared=True):
    """Set a bit of some pixels for each overlay, and say so in the header as CTs before 2004 do."""
    stored = np.frombuffer(dataset.PixelData, "<u2").reshape(20, 24).copy()
    for number, position in enumerate(positions):
        stored[where] |= 1 << position
        group = 0x6000 + 2 * number
        if declared:
            for element, vr, value in ((0x0010, "US", 20), (0x0011, "US", 24), (0x0100, "US", 16)):
                dataset.add_new((group, element), vr, value)
            dataset.add_new((group, 0x0102), "US", position)
    dataset.PixelData = stored.tobytes()


@pytest.mark.parametrize("positions", [(15,), (12,), (12, 13, 15), (12, 13, 14, 15)])
@pytest.mark.parametrize("some", [slice(None), slice(7, 11)], ids=["all slices", "some slices"])
def test_overlays_in_high_bits_that_the_header_declares_are_cut_out(make_series, tmp_path, codes_of, positions, some):
    series = twelve_bits(make_series())
    clean = read_volume(series.write(tmp_path / "clean")).array
    for dataset in series.slices[some]:
        draw_overlay(dataset, *positions)
    reading = open_ct(series.write(tmp_path / "s"))
    assert codes_of(reading) == {"W_HIGH_BITS_SET"}
    assert f"of {len(series.slices[some])} slices" in reading.issues[0].message
    assert np.array_equal(reading.volume.array, clean)


@pytest.mark.parametrize("extended", [True, False], ids=["sign repeated", "sign in bit 11"])
def test_an_overlay_on_signed_pixels_spares_their_sign(make_series, tmp_path, codes_of, extended):
    series = each(make_series(), BitsStored=12, HighBit=11, RescaleIntercept="0")
    for dataset in series.slices:
        values = np.clip(np.frombuffer(dataset.PixelData, "<i2") - 1024, -2048, 2047).astype("<i2")
        dataset.PixelData = values.tobytes() if extended else (values.view("<u2") & 0x0FFF).tobytes()
        draw_overlay(dataset, 15, where=np.s_[:, ::2])
        draw_overlay(dataset, 15, 13)
    reading = open_ct(series.write(tmp_path / "s"))
    assert codes_of(reading) == {"W_HIGH_BITS_SET"}
    assert np.array_equal(reading.volume.array, series.lps_array)


def test_an_overlay_drawn_across_padding_leaves_it_padding(make_series, tmp_path, codes_of):
    series = twelve_bits(make_series())
    expected = np.array(series.lps_array)
    expected[:4] = -1000
    for dataset in series.slices:
        stored = np.frombuffer(dataset.PixelData, "<u2").reshape(20, 24).copy()
        stored[:, :4] = 63536
        dataset.PixelData, dataset.PixelPaddingValue = stored.tobytes(), 63536
        dataset["PixelPaddingValue"].VR = "US"
        draw_overlay(dataset, 14, where=np.s_[4:9, 0:12])
    reading = open_ct(series.write(tmp_path / "s"))
    assert codes_of(reading) == {"W_HIGH_BITS_SET"}
    assert np.array_equal(reading.volume.array, expected)


def test_a_declared_overlay_that_is_empty_or_lies_in_its_own_element_is_nothing_to_tell(make_series, tmp_path):
    series = twelve_bits(make_series())
    for dataset in series.slices[::2]:
        draw_overlay(dataset, 15, where=np.s_[:0])
    for dataset in series.slices[1::2]:
        for element, value in ((0x0100, 1), (0x0102, 0)):
            dataset.add_new((0x6000, element), "US", value)
        dataset.add_new((0x6000, 0x3000), "OW", b"\xff" * 60)
    assert open_ct(series.write(tmp_path / "s")).issues == ()


@pytest.mark.parametrize(("declared", "drawn"), [((), (15,)), ((15,), (14,)), ((15,), (15, 13)), ((11,), (15,))])
def test_a_high_bit_that_no_overlay_declares_is_refused_as_ever(make_series, tmp_path, refusal, declared, drawn):
    series = twelve_bits(make_series())
    for dataset in series.slices:
        draw_overlay(dataset, *declared, where=np.s_[:0])
        draw_overlay(dataset, *drawn, declared=False)
    assert refusal(series.write(tmp_path / "s")).code == "E_BITS_STORED"


def test_values_above_the_stored_bits_are_refused(make_series, tmp_path, refusal):
    series = twelve_bits(make_series())
    for dataset in series.slices:
        stored = np.frombuffer(dataset.PixelData, "<u2").reshape(20, 24).copy()
        stored[8:12, 8:12] += 4000
        dataset.PixelData = stored.tobytes()
    assert refusal(series.write(tmp_path / "s")).code == "E_BITS_STORED"


def test_monochrome1_is_inverted_once(make_series, tmp_path):
    series = each(make_series(), PhotometricInterpretation="MONOCHROME1")
    for dataset in series.slices:
        dataset.PixelData = (-1 - np.frombuffer(dataset.PixelData, "<i2")).astype("<i2").tobytes()
    assert np.array_equal(read_volume(series.write(tmp_path / "s")).array, series.lps_array)


def test_absent_rescale_needs_a_word_of_the_user(make_series, tmp_path, codes_of, refusal):
    series = make_series()
    for dataset in series.slices:
        dataset.PixelData = (np.frombuffer(dataset.PixelData, "<i2") - 1024).astype("<i2").tobytes()
        del dataset.RescaleSlope, dataset.RescaleIntercept
    folder = series.write(tmp_path / "s")
    assert "assume_hu=True" in refusal(folder).remedy
    reading = open_ct(folder, ReadOptions(assume_hu=True))
    assert codes_of(reading) == {"W_ASSUMED_HU"}
    assert np.array_equal(reading.volume.array, series.lps_array)


def test_a_missing_intercept_is_seen_in_the_values(make_series, tmp_path, codes_of, refusal):
    folder = each(make_series(), RescaleIntercept="0").write(tmp_path / "s")
    assert refusal(folder).code == "E_NOT_HOUNSFIELD"
    reading = open_ct(folder, ReadOptions(fix_offset=True))
    assert codes_of(reading) == {"W_OFFSET_FIXED"}


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"RescaleType": "Z_EFF"}, "E_NOT_HOUNSFIELD"),
        ({"RescaleSlope": "0"}, "E_BAD_HEADER"),
        ({"BitsStored": 20}, "E_BITS_STORED"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"}, "E_NOT_CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"}, "E_NOT_CT"),
        ({"Rows": 60000, "Columns": 60000}, "E_RESOURCE_LIMIT"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "E_NOT_CT"),
    ],
)
def test_what_is_no_ct_in_hu_is_refused(make_series, tmp_path, tags, code, refusal):
    assert refusal(each(make_series(), **tags).write(tmp_path / "s")).code == code


def test_float_pixels_are_refused(make_series, tmp_path, refusal):
    series = each(make_series(), BitsAllocated=32, BitsStored=32, HighBit=31)
    for dataset in series.slices:
        dataset.FloatPixelData = np.frombuffer(dataset.PixelData, "<i2").astype("<f4").tobytes()
        del dataset.PixelData
    assert refusal(series.write(tmp_path / "s")).code == "E_PIXEL_FORMAT"


def test_lossy_and_derived_images_are_flagged(make_series, tmp_path, codes_of, refusal):
    series = each(make_series(), LossyImageCompression="01", LossyImageCompressionRatio="9.5")
    reading = open_ct(each(series, ImageType=["DERIVED", "SECONDARY", "MIP"]).write(tmp_path / "s"))
    assert codes_of(reading) == {"W_LOSSY_SOURCE", "W_DERIVED_IMAGE"}
    assert "9.5" in reading.issues[0].message
    assert refusal(tmp_path / "s", ReadOptions(strict=True)).code == "E_DERIVED_IMAGE"


@pytest.mark.parametrize("keep", [0, 100, 400, 900, -7])
def test_a_cut_slice_is_refused_and_named(make_series, tmp_path, keep, refusal):
    folder = make_series().write(tmp_path / "s")
    path = folder / "017.dcm"
    path.write_bytes(path.read_bytes()[:keep])
    error = refusal(folder)
    assert error.code == "E_UNREADABLE_SLICE"
    assert "017.dcm" in error.message


def test_a_slice_without_preamble_is_read_and_flagged(make_series, tmp_path, codes_of):
    series = make_series()
    folder = series.write(tmp_path / "s")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[132:])
    reading = open_ct(folder)
    assert codes_of(reading) == {"W_NO_PREAMBLE"}
    assert np.array_equal(reading.volume.array, series.lps_array)


def test_a_deflate_bomb_is_refused(make_series, tmp_path, refusal):
    import zlib

    series = make_series()
    head = series.slices[0]
    head.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    folder = series.write(tmp_path / "s")
    raw = (folder / "000.dcm").read_bytes()
    length = struct.unpack("<L", raw[140:144])[0]
    meta = raw[: 144 + length]
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join([engine.compress(b"\0" * 2**20) for _ in range(200)]) + engine.flush()
    (folder / "000.dcm").write_bytes(meta + bomb)
    assert refusal(folder).code == "E_RESOURCE_LIMIT"


def test_thousands_of_nested_sequences_are_refused(make_series, tmp_path, refusal):
    folder = make_series().write(tmp_path / "s")
    path = folder / "004.dcm"
    raw = path.read_bytes()
    nested = b"\x09\x00\x10\x00LO\x04\x00TEST" + (
        b"\x09\x00\x01\x10SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20000
    )
    at = raw.index(b"\x10\x00\x10\x00PN")
    path.write_bytes(raw[:at] + nested + raw[at:])
    error = refusal(folder)
    assert error.code == "E_UNREADABLE_SLICE"


@pytest.mark.real
def test_the_real_transfer_syntaxes_decode_to_one_image(real_data):
    folder = real_data / "dicom_corner_cases" / "transfer_syntaxes"
    reference = pydicom.dcmread(folder / "CTImage.dcm").pixel_array.astype(int) - 1024
    inside = reference > -1500
    lossless = 0
    paths = sorted(folder.glob("CTImage*.dcm"))
    assert len(paths) == 16
    for path in paths:
        file = read_header(ByteSource(path))
        out = np.zeros((1, 512, 512), np.int16)
        read_planes([VolumePlane(file, file.frames[0], 0)], out)
        difference = np.abs(out[0].astype(int) - reference)[inside].max()
        lossy = file.about["lossy"] or file.transfer_syntax[-3:] in (".51", ".53", ".55")
        assert difference == 0 if not lossy else difference <= 65, path.name
        lossless += not lossy
    assert lossless == 10
