"""Which cases are drawn how often: by facts, by size, large ones first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.engines import LargeFirst, RoiSampler, SourceGroup

VOXEL = torch.zeros(1, 1, 1, 1, dtype=torch.int16)


def cases_of(*facts: dict) -> list[dict]:
    return [
        {"image": VOXEL, "label": VOXEL, "facts": of_case, "case_id": f"case-{i}"} for i, of_case in enumerate(facts)
    ]


def test_small_nodules_are_drawn_as_many_times_as_often_as_asked():
    cases = cases_of({"diameter_mm": 5.0}, {"diameter_mm": 8.0}, {"diameter_mm": 20.0}, {})
    group = SourceGroup("a", cases, emphasis={"diameter_mm": {"<8": 3.0, ">=15": 0.5}})
    assert group.frequencies() == pytest.approx(np.array([3.0, 1.0, 0.5, 1.0]) / 5.5)


def test_emphases_of_several_facts_multiply():
    cases = cases_of({"diameter_mm": 5.0, "texture": 1}, {"diameter_mm": 5.0, "texture": 5})
    group = SourceGroup("a", cases, emphasis={"diameter_mm": {"<= 5": 3.0}, "texture": {"1": 2.0}})
    assert group.frequencies() == pytest.approx([6 / 9, 3 / 9])


def test_the_largest_cases_come_first_and_the_others_one_after_the_other():
    cases = cases_of(*({"diameter_mm": d} for d in (4.0, 30.0, 12.0, 8.0)))
    group = SourceGroup("a", cases, large_first=LargeFirst(start=0.25, batches=30))
    assert group.frequencies(0) == pytest.approx([0, 1, 0, 0])
    assert group.frequencies(10) == pytest.approx([0, 1 / 2, 1 / 2, 0])
    assert group.frequencies(20) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    for drawn in (30, 1000):
        assert group.frequencies(drawn) == pytest.approx([1 / 4] * 4)


def test_a_start_of_nothing_still_has_a_case():
    group = SourceGroup("a", cases_of({"diameter_mm": 3.0}, {"diameter_mm": 4.0}), large_first=LargeFirst(start=0.0))
    assert group.frequencies(0) == pytest.approx([0, 1])


def test_names_are_those_of_the_data_list_and_nothing_is_loaded_for_them():
    class Dataset:
        data = ({"case_id": "a"}, {})

        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise AssertionError("loaded")

    assert SourceGroup("a", Dataset()).case_ids() == ["a", "1"]
    assert SourceGroup("a", Dataset()).frequencies() == pytest.approx([0.5, 0.5])


def test_mapped_voxels_are_the_same_and_leave_no_file_behind(tmp_path):
    hu = torch.arange(-60, 60, dtype=torch.int16).reshape(1, 4, 5, 6)
    cases = [{"image": hu, "label": (hu > 50).to(torch.uint8)}]
    kept, mapped = SourceGroup("a", cases), SourceGroup("a", cases, memory_map=str(tmp_path / "map"))
    (one,), (other,) = kept.cached(torch.device("cpu")), mapped.cached(torch.device("cpu"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one)
    assert list((tmp_path / "map").iterdir()) == []


def test_patches_of_mapped_cases_are_those_of_cached_ones(tmp_path):
    hu = torch.randint(-1000, 400, (1, 20, 20, 20), dtype=torch.int16)
    cases = [{"image": hu, "label": (hu > 300).to(torch.uint8), "case_id": "a"}]
    batches = [
        RoiSampler([SourceGroup("a", cases, memory_map=folder)], 8, 3, 1, seed=5).batch()
        for folder in (None, str(tmp_path))
    ]
    assert torch.equal(batches[0]["image"], batches[1]["image"])
    assert torch.equal(batches[0]["label"], batches[1]["label"])


def test_groups_of_the_same_cases_may_look_at_different_places():
    image, near, far = (torch.zeros(1, 20, 20, 20, dtype=torch.int16) for _ in range(3))
    near[0, 5, 5, 5], far[0, 15, 15, 15] = 1, 1
    cases = [{"image": image, "label": image, "centres": near, "tempting": far, "case_id": "a"}]
    for key, voxel in (("centres", 5), ("tempting", 15)):
        group = SourceGroup("a", cases, foreground=0.0, jitter=0.0, centres_key=key)
        places = RoiSampler([group], 8, 3, 1).batch()["place"]
        assert [place.centre.tolist() for place in places] == [[voxel] * 3] * 3
