"""SEG and SR of every real CT at hand: the same voxels and numbers back, no error of dciodvfy, twice the same bytes.

The masks are made from HU and balls: what is tested is the way to DICOM and back, not the networks.
"""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from lungseg3d.analysis import measure_lungs, measure_nodules
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
)
from tests.support.seg_reading import read_frames, read_masks, read_measurements

CTS = {
    "ct/4dlung-113/dicom": ReadOptions(),
    "ct/lungdx-A0001/dicom": ReadOptions(),
    "ct/ricord-000082/dicom": ReadOptions(),
    "cip-64/dicom": ReadOptions(),
    "dicom_corner_cases/conversion/gantrytilting/001": ReadOptions(),
    "dicom_corner_cases/conversion/sliceincrement/001": ReadOptions(allow_gaps=True),
    "dicom_corner_cases/segmentation/ct-3slice": ReadOptions(),
    "dicom_corner_cases/segmentation/image": ReadOptions(),
    "dicom_corner_cases/segmentation/multiframe/mf.dcm": ReadOptions(),
}
NETWORK = Algorithm("a network", "1.0", {})


def masks_of(ct) -> Masks:
    """Air in both halves of the image as lungs, three balls as nodules."""
    middle = ct.shape[0] // 2
    air = ct.array < -500
    labels = np.where(air, np.where(np.arange(ct.shape[0])[:, None, None] < middle, 1, 2), 0).astype(np.uint8)
    nodules = np.zeros(ct.shape, np.uint16)
    for number, share in enumerate((0.3, 0.5, 0.7), start=1):
        # One axis at a time: a whole CT of coordinates takes gigabytes.
        offsets = [(np.arange(n) - share * n) * step for n, step in zip(ct.shape, ct.spacing_mm, strict=True)]
        near = [np.flatnonzero(np.abs(offset) <= 2 + 2 * number) for offset in offsets]
        x, y, z = (offset[index] for offset, index in zip(offsets, near, strict=True))
        ball = x[:, None, None] ** 2 + y[:, None] ** 2 + z**2 <= (2 + 2 * number) ** 2
        nodules[np.ix_(*near)] = np.where(ball, number, nodules[np.ix_(*near)])
    labels[nodules > 0] = 3
    sides = {1: "right", 2: "right", 3: "left"}
    return Masks(ct.with_array(labels), ct.with_array(nodules), NETWORK, NETWORK, "1.0", sides)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", CTS)
def test_a_real_ct_comes_back_from_seg_and_sr(name, real_data, tmp_path):
    ct = open_ct(real_data / name, CTS[name]).volume
    masks = masks_of(ct)
    nodules, lungs = measure_nodules(ct, masks.nodules, lungs=masks.labels), measure_lungs(masks.labels)
    written = []
    for number in (1, 2):
        series = find_source_series(real_data / name, CTS[name])
        seg = make_dicom_seg(masks, series)
        sr = make_dicom_sr(Measured(lungs, nodules, list_segments(masks, series), masks, seg), series)
        for kind, dataset in (("seg", seg), ("sr", sr)):
            dataset.save_as(tmp_path / f"{kind}-{number}.dcm", enforce_file_format=True)
        written.append([(tmp_path / f"{kind}-{number}.dcm").read_bytes() for kind in ("seg", "sr")])
    assert written[0] == written[1]
    found = read_masks(tmp_path / "seg-1.dcm", ct.affine, ct.shape)
    groups = read_measurements(tmp_path / "sr-1.dcm")
    assert set(groups) == set(found)
    for uid, mask in found.items():
        word, _, number = groups[uid]["id"].partition(" ")
        expected = (
            masks.nodules.array == int(number) if word == "Nodule" else masks.labels.array == 1 + (word == "Left")
        )
        assert np.array_equal(mask, expected)
    for nodule in nodules:
        (group,) = (group for group in groups.values() if group["id"] == f"Nodule {nodule.id}")
        assert group["118565006", ""][0] == pytest.approx(nodule.volume_mm3, abs=0.01)
        assert group["103339001", ""][0] == pytest.approx(nodule.long_axis_mm, abs=0.01)
    if shutil.which("dciodvfy"):
        for kind in ("seg", "sr"):
            command = ["dciodvfy", "-new", tmp_path / f"{kind}-1.dcm"]
            said = subprocess.run(command, capture_output=True, text=True, check=False)
            assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []


@pytest.mark.real
@pytest.mark.parametrize("name", ["liver.dcm", "lidc_nodule_seg.dcm"])
def test_a_seg_of_others_is_built_as_ours(name, real_data, tmp_path):
    theirs, frames = read_frames(real_data / "dicom_corner_cases" / "segmentation" / name)
    assert all(mask.any() for _, _, mask, _ in frames)
    source = real_data / "dicom_corner_cases" / "segmentation" / "image"
    ours = make_dicom_seg(masks_of(open_ct(source).volume), find_source_series(source))
    ours.save_as(tmp_path / "ours.dcm", enforce_file_format=True)
    ours = pydicom.dcmread(tmp_path / "ours.dcm")
    # What theirs says of segments, frames and geometry, ours says too; free text and studies aside.
    for theirs_part, ours_part in (
        (theirs.SegmentSequence[0], ours.SegmentSequence[0]),
        (theirs.PerFrameFunctionalGroupsSequence[0], ours.PerFrameFunctionalGroupsSequence[0]),
        (theirs.SharedFunctionalGroupsSequence[0], ours.SharedFunctionalGroupsSequence[0]),
    ):
        assert {e.keyword for e in theirs_part} - {e.keyword for e in ours_part} <= {
            "SegmentDescription",
            "AnatomicRegionSequence",
        }
    assert (
        (theirs.SegmentationType, theirs.BitsAllocated) == (ours.SegmentationType, ours.BitsAllocated) == ("BINARY", 1)
    )
