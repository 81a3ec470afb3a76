"""SEG and SR of small chests: the same voxels and numbers come back, in the source's planes, twice the same bytes.

From straight, tilted, multi-frame and gapped series; nothing invalid of the source's header goes on.
"""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from lungseg3d.analysis import measure_lungs, measure_nodules
from lungseg3d.core import GeometryError, IntakeError, OutputError, Volume
from lungseg3d.io import (
    Algorithm,
    Masks,
    Measured,
    ReadOptions,
    find_source_series,
    list_segments,
    make_dicom_seg,
    make_dicom_sr,
    open_ct,
    write_dicom_series,
)
from tests.corpus.dicom_enhanced import multi_frame
from tests.corpus.phantom import Series, chest
from tests.support.nodule_records import changed
from tests.support.seg_reading import read_frames, read_masks, read_measurements

NETWORK = Algorithm("a network", "1.2", {"weights_sha256": "ab" * 32})
RIGHT, LEFT = "24028007", "7771000"


def masks_of(ct: Volume) -> Masks:
    """Two lungs and two nodules of a chest of the corpus, on the grid of its reading."""
    x, _, z = ct.shape
    labels, nodules = np.zeros(ct.shape, np.uint8), np.zeros(ct.shape, np.uint16)
    labels[4 : x // 2 - 1, 5:15, 2 : z - 2], labels[x // 2 + 1 : x - 4, 5:15, 3 : z - 1] = 1, 2
    nodules[6:9, 7:10, 5:8], nodules[15:19, 8:11, 4:6] = 1, 2
    labels[nodules > 0] = 3
    return Masks(ct.with_array(labels), ct.with_array(nodules), NETWORK, NETWORK, "9.9", {1: "right", 2: "left"})


def write_both(folder: Path, source: Path, options: ReadOptions = ReadOptions()):  # noqa: B008 - frozen
    """(CT, masks, nodules, lungs, paths of SEG and SR) of a series."""
    ct = open_ct(source, options).volume
    masks = masks_of(ct)
    nodules = measure_nodules(ct, masks.nodules, lungs=masks.labels)
    lungs = measure_lungs(masks.labels)
    series = find_source_series(source, options)
    seg = make_dicom_seg(masks, series)
    sr = make_dicom_sr(Measured(lungs, nodules, list_segments(masks, series), masks, seg), series)
    folder.mkdir(exist_ok=True)
    for name, dataset in (("seg.dcm", seg), ("sr.dcm", sr)):
        dataset.save_as(folder / name, enforce_file_format=True)
    return ct, masks, nodules, lungs, folder / "seg.dcm", folder / "sr.dcm"


def tilted(folder: Path) -> Path:
    ct = chest()
    affine = ct.affine.copy()
    affine[1, 2] = 0.8  # each slice a little further to the front: about 18 degrees
    write_dicom_series(folder, Volume(ct.array, affine))
    return folder


def straight(folder: Path) -> Path:
    write_dicom_series(folder, chest())
    return folder


def shuffled_frames(folder: Path) -> Path:
    folder.mkdir()
    series = Series()
    multi_frame(series, np.random.default_rng(1).permutation(40).tolist()).save_as(folder / "enhanced.dcm")
    return folder / "enhanced.dcm"


def gapped(folder: Path) -> Path:
    straight(folder)
    (folder / "slice-0020.dcm").unlink()
    return folder


SOURCES = {"straight": straight, "tilted": tilted, "frames": shuffled_frames, "gapped": gapped}


@pytest.fixture(scope="module", params=SOURCES)
def written(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    source = SOURCES[request.param](folder / "ct")
    options = ReadOptions(allow_gaps=request.param == "gapped")
    return (request.param, source, *write_both(folder / "out", source, options))


def test_every_voxel_comes_back_where_it_was(written):
    _, _, ct, masks, _, _, seg_path, _ = written
    found = read_masks(seg_path, ct.affine, ct.shape)
    labels, nodules = masks.labels.array, masks.nodules.array
    assert len(found) == 4
    for mask, expected in zip(found.values(), (labels == 1, labels == 2, nodules == 1, nodules == 2), strict=True):
        assert np.array_equal(mask, expected)


def test_each_frame_names_the_slice_it_lies_on(written):
    name, source, _, _, _, _, seg_path, _ = written
    positions = {}
    files = [source] if source.is_file() else sorted(source.iterdir())
    for file in map(pydicom.dcmread, files):
        if "PerFrameFunctionalGroupsSequence" in file:
            for n, group in enumerate(file.PerFrameFunctionalGroupsSequence, start=1):
                positions[str(file.SOPInstanceUID), n] = group.PlanePositionSequence[0].ImagePositionPatient
        else:
            positions[str(file.SOPInstanceUID), 0] = file.ImagePositionPatient
    seg, frames = read_frames(seg_path)
    assert seg.FrameOfReferenceUID == file.FrameOfReferenceUID
    assert (seg.StudyInstanceUID, seg.PatientID) == (file.StudyInstanceUID, file.PatientID)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == file.SeriesInstanceUID
    named = [(position, source_of) for _, position, _, source_of in frames if source_of[0]]
    assert len(named) == len(frames) or name == "gapped"
    for position, source_of in named:
        assert np.allclose(position, np.array(positions[source_of], float), atol=1e-3)


def test_highdicom_reads_the_same_voxels(written):
    name, source, _, masks, _, _, seg_path, _ = written
    seg = highdicom.seg.segread(seg_path)
    assert {s.tracking_id for s in (seg.get_segment_description(n) for n in seg.segment_numbers)} == {
        "Right lung",
        "Left lung",
        "Nodule 1",
        "Nodule 2",
    }
    if name != "straight":
        return  # its volumes are for straight grids, its look-up by source for single frames
    uids = [str(pydicom.dcmread(file).SOPInstanceUID) for file in sorted(source.iterdir())]
    stack = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    expected = np.where(masks.nodules.array > 0, masks.nodules.array + 2, masks.labels.array)
    assert np.array_equal(stack.transpose(2, 1, 0), expected)


def test_the_report_tells_the_numbers_of_the_segments(written):
    _, _, _, _, nodules, lungs, seg_path, sr_path = written
    groups = read_measurements(sr_path)
    seg = pydicom.dcmread(seg_path)
    assert set(groups) == {str(s.TrackingUID) for s in seg.SegmentSequence}
    by_name = {group["id"]: group for group in groups.values()}
    for segment in seg.SegmentSequence:
        group = groups[str(segment.TrackingUID)]
        assert (group["seg"], group["segment"]) == (seg.SOPInstanceUID, segment.SegmentNumber)
    for nodule in nodules:
        group = by_name[f"Nodule {nodule.id}"]
        assert group["118565006", ""] == (pytest.approx(nodule.volume_mm3, abs=0.01), "UCUM:mm3")
        assert group["103339001", ""] == (pytest.approx(nodule.long_axis_mm, abs=0.01), "UCUM:mm")
        assert group["103340004", ""] == (pytest.approx(nodule.diameters.perpendicular_mm, abs=0.01), "UCUM:mm")
        assert group["112031", "373098007"] == (pytest.approx(nodule.density.mean_hu, abs=0.1), "UCUM:[hnsf'U]")
        assert (group["finding"], group["site"]) == ("27925004", "39607008")
        assert group["side"] == {"right": RIGHT, "left": LEFT}[nodule.side]
        assert group["words"]["third"] == nodule.position.third
        assert group["words"]["fleischner-mm"] == nodule.size_classes.fleischner_by_diameter
    for lung in lungs:
        group = by_name[lung.name.replace("_", " ").capitalize()]
        assert group["118565006", ""] == (pytest.approx(lung.volume_ml, abs=0.01), "UCUM:mL")


def test_the_interval_of_the_volume_stands_beside_it(written):
    nodule, groups = written[4][0], read_measurements(written[7])
    (group,) = (g for g in groups.values() if g["id"] == f"Nodule {nodule.id}")
    half_widths = sorted(v for k, v in group.items() if k[0] == "118565006" and isinstance(v, float))
    expected = (nodule.volume_mm3 - nodule.volume.low_mm3, nodule.volume.high_mm3 - nodule.volume_mm3)
    assert half_widths == pytest.approx(sorted(expected), abs=0.01)


def test_the_method_of_the_volume_and_what_is_known_of_its_doubt_are_told(tmp_path):
    source = straight(tmp_path / "ct")
    ct, series = open_ct(source).volume, find_source_series(source)
    masks = masks_of(ct)
    nodules = measure_nodules(ct, masks.nodules)
    known = {"calibrated_confidence": 0.31, "uncertainty": 0.22, "view_agreement": 0.87}
    weighed = {"volume_method": "partial-volume", "volume_mm3": nodules[0].volume_mm3 * 1.1}
    nodules[0] = changed(nodules[0], **weighed, **known)
    seg = make_dicom_seg(masks, series)
    make_dicom_sr(Measured((), nodules, list_segments(masks, series), masks, seg), series).save_as(tmp_path / "sr.dcm")
    groups = {group["id"]: group for group in read_measurements(tmp_path / "sr.dcm").values()}
    by_hu = groups[f"Nodule {nodules[0].id}"]
    assert by_hu["118565006", ""][0] == pytest.approx(1.1 * by_hu["voxel-sum", ""][0], abs=0.02)
    assert by_hu["calibrated", ""] == (0.31, "UCUM:1")
    assert by_hu["uncertainty", ""] == (0.22, "UCUM:bit")
    assert by_hu["view-agreement", ""] == (0.87, "UCUM:1")
    assert ("calibrated", "") not in groups[f"Nodule {nodules[1].id}"]
    text = (tmp_path / "sr.dcm").read_bytes()
    assert text.count(b"partial-volume") == 1
    assert text.count(b"Sum of segmented voxel method") == len(nodules) - 1


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_no_error(written):
    for path in written[6:8]:
        said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []


def test_objects_are_the_same_bytes_twice_and_say_what_they_are_for(tmp_path):
    source = straight(tmp_path / "ct")
    one, two = (write_both(tmp_path / name, source)[4:] for name in ("one", "two"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    assert len(one) == 2
    for path in one:
        dataset = pydicom.dcmread(path)
        assert "esearch use only" in dataset.SeriesDescription
        assert dataset.ContentDate == dataset.InstanceCreationDate == "20000101"


def test_the_date_is_that_of_source_date_epoch_where_it_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    seg, sr = (pydicom.dcmread(p) for p in write_both(tmp_path / "out", straight(tmp_path / "ct"))[4:])
    assert (seg.ContentDate, seg.ContentTime) == (sr.ContentDate, sr.ContentTime) == ("20231114", "221320")


def test_another_mask_is_another_object_with_other_tracking_uids(tmp_path):
    source = straight(tmp_path / "ct")
    series = find_source_series(source)
    masks = masks_of(open_ct(source).volume)
    changed = masks.nodules.array.copy()
    changed[6, 7, 5] = 0
    other = replace(masks, nodules=masks.nodules.with_array(changed))
    one, two = make_dicom_seg(masks, series), make_dicom_seg(other, series)
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert not {s.TrackingUID for s in one.SegmentSequence} & {s.TrackingUID for s in two.SegmentSequence}


def test_segments_bear_codes_colours_and_what_made_them(tmp_path):
    seg = pydicom.dcmread(write_both(tmp_path / "out", straight(tmp_path / "ct"))[4])
    right, _, first, _ = seg.SegmentSequence
    kind = right.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue) == ("39607008", RIGHT)
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "27925004"
    region = first.AnatomicRegionSequence[0]
    assert (region.CodeValue, region.AnatomicRegionModifierSequence[0].CodeValue) == ("39607008", RIGHT)
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("a network", "1.2")
    assert "ab" * 32 in algorithm.AlgorithmParameters
    assert seg.SegmentsOverlap == "NO"


def changed_headers(folder: Path, **values) -> Path:
    """A series whose every header has other values; None takes an attribute away."""
    for path in straight(folder).iterdir():
        dataset = pydicom.dcmread(path)
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        dataset.save_as(path)
    return folder


def test_names_in_another_character_set_stay_readable(tmp_path):
    source = changed_headers(tmp_path / "ct", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Åsa")
    for path in write_both(tmp_path / "out", source)[4:]:
        dataset = pydicom.dcmread(path)
        assert (str(dataset.PatientName), dataset.SpecificCharacterSet) == ("Müller^Åsa", "ISO_IR 192")


def test_values_that_cannot_be_are_left_out_and_the_slices_still_found(tmp_path):
    with pydicom.config.disable_value_validation():
        source = changed_headers(
            tmp_path / "ct", PatientAge="0Y", StudyDate="20AB0101", PatientSex="X", SpecificCharacterSet=""
        )
        _, masks, *_, seg_path, _ = write_both(tmp_path / "out", source)
    seg = pydicom.dcmread(seg_path)
    assert (seg.PatientAge or "", seg.StudyDate, seg.PatientSex) == ("", "", "")
    assert len(seg.SegmentSequence) == 4
    assert masks.labels.array.any()


def test_a_series_without_a_frame_of_reference_gets_one_of_its_own_and_a_warning(tmp_path):
    source = changed_headers(tmp_path / "ct", FrameOfReferenceUID=None)
    seg = pydicom.dcmread(write_both(tmp_path / "out", source)[4])
    assert seg.FrameOfReferenceUID
    assert [issue.code for issue in find_source_series(source).issues] == ["W_NO_FRAME_OF_REFERENCE"]


def test_a_series_without_instance_uids_is_refused(tmp_path):
    source = changed_headers(tmp_path / "ct", StudyInstanceUID=None)
    with pytest.raises(IntakeError, match=r"E_MISSING_TAG: .*no StudyInstanceUID"):
        find_source_series(source)


def test_masks_of_a_nifti_of_the_series_find_their_slices(tmp_path):
    source = straight(tmp_path / "ct")
    series = find_source_series(source)
    masks = masks_of(open_ct(source).volume)
    as_nifti = replace(masks, labels=masks.labels.as_ras(), nodules=masks.nodules.as_ras())
    one, two = make_dicom_seg(masks, series), make_dicom_seg(as_nifti, series)
    assert one.PixelData == two.PixelData
    assert one.SOPInstanceUID == two.SOPInstanceUID


def test_masks_of_another_grid_are_refused(tmp_path):
    series = find_source_series(straight(tmp_path / "ct"))
    masks = masks_of(chest((24, 20, 30)))
    with pytest.raises(GeometryError, match=r"E_GRID_MISMATCH: .*\(24, 20, 30\).*\(24, 20, 40\)"):
        make_dicom_seg(masks, series)


def test_nothing_segmented_is_no_seg(tmp_path):
    source = straight(tmp_path / "ct")
    masks = masks_of(open_ct(source).volume)
    empty = masks.labels.with_array(np.zeros_like(masks.labels.array))
    with pytest.raises(OutputError, match="E_EMPTY_RESULT"):
        make_dicom_seg(replace(masks, labels=empty, nodules=empty), find_source_series(source))


def test_the_series_of_a_result_is_found_by_its_hash_among_others(tmp_path):
    source = straight(tmp_path / "ct")
    wanted = open_ct(source).source["series_sha256"]
    straight(tmp_path / "other")
    other_uid = pydicom.uid.generate_uid()
    for path in (tmp_path / "other").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = other_uid
        dataset.SOPInstanceUID = pydicom.uid.generate_uid()
        dataset.save_as(path)
    assert find_source_series(tmp_path, series_sha256=wanted).series_sha256 == wanted
    with pytest.raises(IntakeError, match="E_SERIES_NOT_FOUND"):
        find_source_series(tmp_path / "other", series_sha256=wanted)


def test_a_nifti_file_is_no_source(tmp_path):
    (tmp_path / "ct.nii.gz").write_bytes(b"\x1f\x8b and no more")
    with pytest.raises(IntakeError, match=r"E_NO_DICOM_SOURCE: ct.nii.gz: .*\n.*lungseg3d export"):
        find_source_series(tmp_path / "ct.nii.gz")
