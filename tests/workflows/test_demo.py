"""`demo`: what was planted is held against what was found, whatever the networks are worth."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from lungseg3d.core import Volume
from lungseg3d.data import NoduleSpec, Phantom, PhantomNodule
from lungseg3d.io import read_labels, write_labels
from lungseg3d.workflows import demo as module
from lungseg3d.workflows.demo import demo
from lungseg3d.workflows.segment import models as segment_models
from lungseg3d.workflows.segment import results as segment_results
from tests.support.tables import read_table


@pytest.fixture
def planted(chest, bundles, monkeypatch) -> Phantom:
    """A phantom of known nodules in place of the drawn one, and bundles that tell its parts by HU.

    Nodule 1 is visible, nodule 2 is planted but has the lung's own HU, nodule 3 is too small to count.
    """
    seen = (chest.labels.array == 3).astype(np.uint16)
    nodule_map = seen.copy()
    nodule_map[12:16, 20:24, 15:18] = 2
    nodule_map[20, 20, 20] = 3
    nodules = tuple(
        PhantomNodule(NoduleSpec(diameter_mm=d), number, (0.0, 0.0, 0.0), np.pi / 6 * d**3, d, side)
        for number, d, side in ((1, 22.0, "right"), (2, 12.0, "left"), (3, 4.0, "left"))
    )
    phantom = Phantom(chest.ct, chest.labels, chest.ct.with_array(nodule_map), nodules)
    monkeypatch.setattr(module, "make_phantom", lambda spec: phantom)
    roots = {"lung_ct_segmentation": bundles.lungs, "lung_nodule_ct_segmentation": bundles.nodules}
    monkeypatch.setattr(segment_models, "shipped_bundle", roots.__getitem__)
    return phantom


def test_the_demo_counts_the_planted_nodules_that_it_found(planted, tmp_path):
    calls = []
    made = demo(tmp_path, seed=3, on_progress=lambda *call: calls.append(call))
    assert (made.planted, made.found, made.unplanted, made.result.status) == (2, 1, 0, "done")
    assert len(list((tmp_path / "dicom" / "phantom-0003").glob("*.dcm"))) == planted.ct.shape[2]
    assert made.report == tmp_path / "results" / made.result.case_id / "report.html"
    assert made.report.is_file()
    assert calls[0] == ("phantom-0003", "make the phantom", 0.0)
    assert calls[-1][1:] == ("done", 1.0)
    assert {name for name, _, _ in calls} == {"phantom-0003", ""}  # "" is told what computes the networks


def test_what_matches_nothing_planted_is_counted_too(planted, tmp_path, monkeypatch):
    elsewhere = planted.nodule_map.with_array(np.zeros_like(planted.nodule_map.array))
    elsewhere.array[0, 0, 0], elsewhere.array[0, 0, 1], elsewhere.array[0, 0, 2] = 1, 2, 3
    monkeypatch.setattr(module, "make_phantom", lambda spec: dataclasses.replace(planted, nodule_map=elsewhere))
    made = demo(tmp_path)
    assert (made.planted, made.found, made.unplanted) == (2, 0, 1)


def test_planted_nodules_among_the_candidates_are_counted_apart(planted, tmp_path, monkeypatch):
    """Nodule 1 is listed, nodule 2 a candidate, and one of each matches nothing planted."""
    segment = module.segment_cases

    def parted(inputs, out, options, on_progress):
        (result,) = segment(inputs, out, options, on_progress)
        folder = out / result.case_id
        found = read_labels(folder / "nodules.nii.gz")
        truth = planted.nodule_map.as_ras().array
        listed, beside = np.zeros(truth.shape, np.uint16), np.zeros(truth.shape, np.uint16)
        listed[truth == 1], listed[0, 0, 0] = 1, 2
        beside[truth == 2], beside[0, 0, 2] = 3, 4
        for name, array in (("nodules", listed), ("candidates", beside)):
            write_labels(folder / f"{name}.nii.gz", Volume(array, found.as_ras().affine))
        nodules = tuple(dataclasses.replace(result.nodules[0], id=number) for number in (1, 2))
        candidates = tuple(dataclasses.replace(result.nodules[0], id=number) for number in (3, 4))
        return (dataclasses.replace(result, nodules=nodules, candidates=candidates),)

    monkeypatch.setattr(module, "segment_cases", parted)
    made = demo(tmp_path)
    assert (made.planted, made.found, made.among_candidates) == (2, 1, 1)
    assert (made.unplanted, made.unplanted_candidates) == (1, 1)
    rows = read_table(tmp_path / "planted.csv")
    assert [(row["segmented_share"], row["candidate_share"]) for row in rows[:2]] == [
        ("1.00", "0.00"),
        ("0.00", "1.00"),
    ]


def test_the_table_says_how_much_of_each_planted_nodule_was_segmented(planted, tmp_path):
    demo(tmp_path)
    rows = read_table(tmp_path / "planted.csv")
    assert [(row["id"], row["equivalent_diameter_mm"], row["side"]) for row in rows] == [
        ("1", "22.0", "right"),
        ("2", "12.0", "left"),
        ("3", "4.0", "left"),
    ]
    shares = [float(row["segmented_share"]) for row in rows]
    assert shares[0] > 0.8
    assert shares[1:] == [0, 0]
    assert all(re.fullmatch(r"\d\.\d\d", row["segmented_share"]) for row in rows)


def test_a_second_run_replaces_the_first(planted, tmp_path):
    first = demo(tmp_path)
    stray = tmp_path / "dicom" / "phantom-0001" / "stray.dcm"
    stray.write_text("left behind")
    second = demo(tmp_path)
    assert second.result.status == "done"
    assert not stray.exists()
    assert first.report == second.report
    assert len(list((tmp_path / "results").iterdir())) == 1


def test_a_case_that_failed_finds_nothing_and_still_says_so(planted, tmp_path, monkeypatch):
    def broken(*arguments, **more):
        raise RuntimeError("no networks today")

    demo(tmp_path)
    assert (tmp_path / "planted.csv").exists()
    monkeypatch.setattr(segment_results, "measure_nodules", broken)
    made = demo(tmp_path)
    assert (made.result.status, made.planted, made.found) == ("failed", 2, 0)
    assert made.report.is_file()
    assert not (tmp_path / "planted.csv").exists()
