"""A prediction is that of its own case: never another patient's, whatever files and results are called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lungseg3d.core import IntakeError, LungSegError, Volume
from lungseg3d.io import voxels_crc32, write_labels, write_volume
from lungseg3d.workflows.evaluate.predictions import Predictions

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def make_ct(seed: int) -> Volume:
    hu = np.full((16, 14, 22), -1000, np.int16)
    hu[2:14, 2:12], hu[4:7, 4:10] = 40, -850
    return Volume(hu + np.random.default_rng(seed).integers(0, 9, hu.shape).astype(np.int16), AFFINE)


def entry(case_id: str, image: Path) -> dict:
    return {"case_id": case_id, "image": str(image), "files": {"image": str(image)}}


def result(folder: Path, ct: Volume | None) -> Path:
    """A case folder as `segment` leaves it; without a CT, as earlier versions left it."""
    folder.mkdir(parents=True)
    write_labels(folder / "labels.nii.gz", Volume(np.zeros((2, 2, 2), np.uint8), np.eye(4)))
    source = {"voxels_crc32": voxels_crc32(ct)} if ct is not None else {}
    (folder / "result.json").write_text(json.dumps({"source": source}))
    return folder / "labels.nii.gz"


@pytest.fixture
def twins(tmp_path) -> list[dict]:
    """Two patients' CTs of one file name."""
    for n in (1, 2):
        (tmp_path / f"p{n}").mkdir()
        write_volume(tmp_path / f"p{n}" / "baseline.nii.gz", make_ct(n))
    return [
        entry("baseline", tmp_path / "p1" / "baseline.nii.gz"),
        entry("baseline-2", tmp_path / "p2" / "baseline.nii.gz"),
    ]


def flat(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    write_labels(folder / f"{name}.nii.gz", Volume(np.zeros((2, 2, 2), np.uint8), np.eye(4)))
    return folder / f"{name}.nii.gz"


def test_a_missing_prediction_is_not_replaced_by_that_of_an_image_of_the_same_name(twins, tmp_path):
    only = flat(tmp_path / "predictions", "baseline")
    found = Predictions(tmp_path / "predictions", twins)
    assert found.find(twins[0]) == only
    with pytest.raises(IntakeError, match="E_NO_PREDICTION: baseline-2"):
        found.find(twins[1])
    assert found.find_any(twins[1]) is None


def test_results_that_segment_numbered_in_another_order_are_found_by_their_voxels(twins, tmp_path):
    second = result(tmp_path / "results" / "baseline", make_ct(2))
    first = result(tmp_path / "results" / "baseline-2", make_ct(1))
    found = Predictions(tmp_path / "results", twins)
    assert [found.find(case) for case in twins] == [first, second]


def test_a_result_of_another_ct_is_no_prediction(twins, tmp_path):
    result(tmp_path / "results" / "baseline", make_ct(2))
    found = Predictions(tmp_path / "results", twins)
    with pytest.raises(IntakeError, match=r"E_NO_PREDICTION.*1 results under such names are of other CTs"):
        found.find(twins[0])
    assert found.find(twins[1]).parent.name == "baseline"


def test_results_that_do_not_say_what_they_were_made_of_go_by_their_case_ids(twins, tmp_path):
    paths = [result(tmp_path / "results" / case["case_id"], None) for case in twins]
    found = Predictions(tmp_path / "results", twins)
    assert [found.find(case) for case in twins] == paths


def test_a_result_named_after_one_image_is_not_taken_for_the_case_of_that_id(tmp_path):
    for name, seed in (("alpha", 1), ("beta", 2)):
        write_volume(tmp_path / f"{name}.nii.gz", make_ct(seed))
    cases = [entry("a", tmp_path / "alpha.nii.gz"), entry("alpha", tmp_path / "beta.nii.gz")]
    place = result(tmp_path / "results" / "alpha", make_ct(1))
    found = Predictions(tmp_path / "results", cases)
    assert found.find(cases[0]) == place
    assert found.find_any(cases[1]) is None


def test_results_go_by_the_name_of_the_image_where_it_is_no_other_cases(tmp_path):
    cases = [entry("p1", tmp_path / "ct-7.nii.gz"), entry("p10", tmp_path / "ct-8.nii.gz")]
    place = result(tmp_path / "results" / "ct-7", make_ct(1))
    found = Predictions(tmp_path / "results", cases)
    assert found.find(cases[0]) == place
    assert found.find_any(cases[1]) is None


def test_a_case_id_that_begins_another_is_another_case(tmp_path):
    cases = [entry(name, tmp_path / f"{name}.nii.gz") for name in ("p1", "p10", "p1_t0")]
    place = flat(tmp_path / "predictions", "p10")
    found = Predictions(tmp_path / "predictions", cases)
    assert [found.find_any(case) for case in cases] == [None, place, None]


def test_two_predictions_of_one_case_are_named(tmp_path):
    cases = [entry("a", tmp_path / "a.nii.gz")]
    flat(tmp_path / "predictions", "a")
    result(tmp_path / "predictions" / "a", None)
    with pytest.raises(LungSegError, match=r"E_DUPLICATE_CASE: a: .*a/labels.nii.gz and a.nii.gz"):
        Predictions(tmp_path / "predictions", cases).find(cases[0])
