"""`segment --at`: what a person names is outlined there and listed, and nothing else is searched for.

The tests marked `real` cut nodules of LIDC-IDRI so that they lie anywhere in a crop; their patients are not known to
the shipped weights.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lungseg3d.core import Box, BundleError, UsageError, Volume, place_in
from lungseg3d.io import pin_weights, read_labels, read_volume, write_volume
from lungseg3d.tensors import to_meta_tensor, to_volume
from lungseg3d.workflows.batch.plan import Selection
from lungseg3d.workflows.batch.run import batch
from lungseg3d.workflows.batch_state.records import BatchOptions
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases
from lungseg3d.workflows.segment.places import with_places_in_view
from tests.workflows.conftest import NODULE_LINES, threshold_network


@pytest.fixture(scope="module")
def options(bundles, tmp_path_factory) -> SegmentOptions:
    """A nodule bundle with a network that outlines what is denser than lung."""
    root = tmp_path_factory.mktemp("outlining") / "nodules"
    shutil.copytree(bundles.nodules, root)
    path = root / "configs" / "inference.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["outline_def"] = config["network_def"]
    path.write_text(json.dumps(config), encoding="utf-8")
    torch.save(threshold_network(NODULE_LINES).state_dict(), root / "models" / "outline.pt")
    pin_weights(root)
    how = {"device": "cpu", "precision": "fp32", "backend": "torch"}
    return SegmentOptions(**how, roi="full", lung_bundle=bundles.lungs, nodule_bundle=root)


@pytest.fixture(scope="module")
def crop(tmp_path_factory) -> Path:
    """Lung of 30 x 24 x 24 voxels of 2 mm with a dense ball off the middle, a small one, and nothing in the middle."""
    hu = np.full((30, 24, 24), -900, np.int16)
    hu[4:9, 4:9, 4:9] = 40
    hu[25, 19, 19] = hu[26, 19, 19] = 40
    path = tmp_path_factory.mktemp("crop") / "crop.nii.gz"
    write_volume(path, Volume(hu, np.diag([-2.0, -2, 2, 1])))
    return path


def test_the_whole_crop_is_searched_and_its_middle_is_not_outlined(crop, options, tmp_path):
    (result,) = segment_cases(crop, tmp_path, options)
    assert result.places == ()
    centroids = [nodule.centroid.voxel for nodule in result.findings]
    assert any(np.abs(np.array(at) - 6).max() < 1 for at in centroids)
    assert not any(np.abs(np.array(at) - (14.5, 11.5, 11.5)).max() < 4 for at in centroids)


def test_a_named_voxel_is_outlined_and_listed_and_the_record_names_it(crop, options, tmp_path):
    named = replace(options, at=("6,6,6", (25.5, 19, 19)), formats=("nifti",))
    (result,) = segment_cases(crop, tmp_path, named)
    assert result.status == "done"
    record = json.loads((tmp_path / "crop" / "result.json").read_text(encoding="utf-8"))
    first, second = record["places"]
    assert (first["name"], first["voxel"], first["nodule"]) == ("6,6,6", [6, 6, 6], 1)
    assert (first["ras_mm"], first["lps_mm"]) == ([-12, -12, 12], [12, 12, 12])
    assert (second["name"], second["nodule"]) == ("25.5,19,19", 2)
    assert record["provenance"]["options"]["at"] == ["6,6,6", [25.5, 19, 19]]
    labels = read_labels(tmp_path / "crop" / "nodules.nii.gz").array
    expected = np.zeros(labels.shape, bool)
    expected[4:9, 4:9, 4:9] = True
    assert 2 * ((labels == 1) & expected).sum() / ((labels == 1).sum() + expected.sum()) > 0.9
    assert labels[25, 19, 19] == 2  # two voxels, which a search drops as a piece of vessel or as too small
    assert [(n.id, n.certainty.confidence, n.certainty.calibrated_confidence) for n in result.nodules] == [
        (1, None, None),
        (2, None, None),
    ]
    assert result.candidates == ()
    with (tmp_path / "crop" / "nodules.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2
    assert [issue.code for issue in result.issues if "PLACE" in issue.code or "SEARCHED" in issue.code] == [
        "W_NOT_SEARCHED"
    ]
    page = (tmp_path / "crop" / "report.html").read_text(encoding="utf-8")
    assert "no statement about nodules elsewhere" in page
    assert "the whole volume was searched" not in page


def test_an_empty_place_is_said_and_the_report_does_not_say_that_there_are_no_nodules(crop, options, tmp_path):
    (result,) = segment_cases(crop, tmp_path, replace(options, at=("middle",)))
    assert (result.status, result.nodules, result.candidates) == ("done", (), ())
    assert [place.nodule for place in result.places] == [None]
    assert {"W_NOT_SEARCHED", "W_EMPTY_PLACE"} <= {issue.code for issue in result.issues}
    page = (tmp_path / "crop" / "report.html").read_text(encoding="utf-8")
    assert "Nothing was outlined at the places that were named" in page
    assert "No nodules found" not in page


def test_with_lungs_a_named_nodule_has_its_side(chest, options, tmp_path):
    write_volume(tmp_path / "chest.nii.gz", chest.ct)
    (result,) = segment_cases(
        tmp_path / "chest.nii.gz", tmp_path / "out", replace(options, roi="lungs", at=("46,25,15",))
    )
    assert (result.status, len(result.lungs)) == ("done", 2)
    assert [(nodule.side, nodule.id) for nodule in result.nodules] == [("right", result.places[0].nodule)]
    labels = read_labels(tmp_path / "out" / result.case_id / "labels.nii.gz").array
    assert labels[46, 25, 15] == 3
    assert set(np.unique(labels)) == {0, 1, 2, 3}


def test_the_surroundings_of_a_place_outside_of_the_lungs_are_in_view_too():
    lungs = np.zeros((100, 100, 60), np.uint8)
    lungs[40:60, 40:60, 20:40] = 1
    lungs = Volume(lungs, np.diag([1.0, 1, 2, 1]))
    place = place_in(lungs.grid, "5,50,30")
    seen = to_volume(with_places_in_view({"roi": to_meta_tensor(lungs)}, (place,))["roi"]).array
    assert Box.around(seen) == Box((0, 0, 5), (60, 100, 56))  # 50 mm around the place, and the lungs
    assert lungs.array.sum() == 20**3


def test_a_place_outside_of_the_image_refuses_that_ct(crop, options, tmp_path):
    (result,) = segment_cases(crop, tmp_path, replace(options, at=("30,6,6",)))
    assert (result.status, [issue.code for issue in result.issues]) == ("refused", ["E_OUTSIDE_IMAGE"])
    assert "30 x 24 x 24 voxels" in result.issues[0].message
    assert not (tmp_path / "crop" / "nodules.nii.gz").exists()


def test_doubt_is_about_the_named_nodules(crop, options, tmp_path):
    (result,) = segment_cases(crop, tmp_path, replace(options, at=("6,6,6",), uncertainty=True))
    assert result.nodules[0].certainty.view_agreement == pytest.approx(1, abs=0.05)
    assert (tmp_path / "crop" / "uncertainty.nii.gz").exists()


def test_two_runs_write_the_same_bytes(crop, options, tmp_path):
    named = replace(options, at=("6,6,6",), write_timings=False)
    for name in ("a", "b"):
        segment_cases(crop, tmp_path / name, named)
    for name in ("result.json", "nodules.nii.gz", "labels.nii.gz", "report.html"):
        assert (tmp_path / "a" / "crop" / name).read_bytes() == (tmp_path / "b" / "crop" / name).read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"at": ("1,2",)},
        {"at": ("middle", "x,y,z")},
        {"at": ("6,6,6",), "recursive": True},
        {"at": ("middle",), "min_confidence": 0.5},
        {"at": ("middle",), "operating_point": "fp=1"},
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(crop, options, tmp_path, changes):
    with pytest.raises(UsageError, match="E_BAD_OPTION"):
        segment_cases(crop, tmp_path / "out", replace(options, **changes))
    assert not (tmp_path / "out").exists()


def test_a_voxel_of_one_ct_is_not_looked_up_in_another_and_the_middle_is(crop, options, tmp_path):
    shutil.copy(crop, tmp_path / "other.nii.gz")
    with pytest.raises(UsageError, match="voxel of one CT"):
        segment_cases([crop, tmp_path / "other.nii.gz"], tmp_path / "out", replace(options, at=("6,6,6",)))
    voxel = BatchOptions(replace(options, at=("6,6,6",)))
    with pytest.raises(UsageError, match="voxel of one CT"):
        batch(Selection(str(tmp_path)), tmp_path / "batch", voxel, lambda *_: None)
    results = segment_cases([crop, tmp_path / "other.nii.gz"], tmp_path / "out", replace(options, at=("middle",)))
    assert [len(result.places) for result in results] == [1, 1]


def test_a_bundle_without_a_network_that_outlines_refuses_places(crop, options, bundles, tmp_path):
    with pytest.raises(BundleError, match="E_NO_OUTLINE"):
        segment_cases(crop, tmp_path / "out", replace(options, nodule_bundle=bundles.nodules, at=("middle",)))
    assert not list((tmp_path / "out").glob("*"))


@dataclass(frozen=True)
class CutNodule:
    """A part of a cube of 50 mm that has a nodule somewhere, with its mask and those of other nodules."""

    ct: Volume
    nodule: np.ndarray
    others: np.ndarray
    centre: tuple[float, ...]


def cut_nodules(folder: Path, count: int) -> Iterator[CutNodule]:
    """Parts of 30 to 44 mm of cubes whose patients the weights do not know, the nodule's centre 6 mm inside or more."""
    with (folder / "nodules.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = {row["patient"] for row in rows if row["in_134"]}
    unknown = [row for row in rows if row["patient"] not in known and row["cut_at_scan_edge"] == "0"]
    random = np.random.default_rng(7)
    for i in random.choice(len(unknown), count, replace=False):
        name = f"{unknown[i]['id']}.nii.gz"
        nodule = read_labels(folder / "labels" / name).array > 0
        beside = folder / "others" / name
        others = read_labels(beside).array > 0 if beside.exists() else np.zeros_like(nodule)
        ct, centre = read_volume(folder / "images" / name), np.argwhere(nodule).mean(axis=0)
        sides = random.integers(30, 45, size=3)
        low = np.maximum(0, np.ceil(centre + 6 - sides)).astype(int)
        start = random.integers(low, np.minimum(np.array(ct.shape) - sides, centre - 6).astype(int) + 1)
        box = Box(tuple(start.tolist()), tuple((start + sides).tolist()))
        part = ct.crop(box)
        hu = Volume(np.ascontiguousarray(part.array), part.affine)
        yield CutNodule(hu, nodule[box.slices], others[box.slices], tuple((centre - start).tolist()))


def check_cut_nodule(cut: CutNodule, folder: Path) -> float:
    """Dice at the named place; fails where the search outlined something else in the middle of the crop."""
    write_volume(folder / "cut.nii.gz", cut.ct)
    (searched,) = segment_cases(folder / "cut.nii.gz", folder / "searched", SegmentOptions(roi="full", device="cpu"))
    at = SegmentOptions(roi="full", device="cpu", at=(cut.centre,))
    (named,) = segment_cases(folder / "cut.nii.gz", folder / "named", at)
    files = folder / "searched" / searched.case_id
    found = read_labels(files / "nodules.nii.gz").array + read_labels(files / "candidates.nii.gz").array
    if middle := found[tuple(n // 2 for n in found.shape)]:
        assert ((found == middle) & (cut.nodule | cut.others)).any(), "the middle of the crop, not the nodule"
    outlined = (read_labels(folder / "named" / named.case_id / "nodules.nii.gz").array > 0) & ~cut.others
    assert named.places[0].nodule == 1
    return 2 * (outlined & cut.nodule).sum() / (outlined.sum() + cut.nodule.sum())


@pytest.mark.real
def test_a_nodule_anywhere_in_a_crop_is_outlined_where_it_is_named_and_the_middle_is_not(real_data, tmp_path):
    (cut,) = cut_nodules(real_data / "nodules_luna", 1)
    assert check_cut_nodule(cut, tmp_path) > 0.3


@pytest.mark.real
@pytest.mark.slow
def test_twenty_nodules_anywhere_in_crops_are_outlined_where_they_are_named(real_data, tmp_path):
    scores = []
    for i, cut in enumerate(cut_nodules(real_data / "nodules_luna", 20)):
        (tmp_path / str(i)).mkdir()
        scores.append(check_cut_nodule(cut, tmp_path / str(i)))
    assert min(scores) > 0
    assert np.mean(scores) > 0.5
