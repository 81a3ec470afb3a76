"""`segment`: what is in the chest comes out, on its own grid, measured and written; a bad case stops no other."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from lungseg3d.core import BundleError, CaseResult, IntakeError, LungSegError, OutputError, QualityIssue, Volume
from lungseg3d.io import open_ct, read_labels, voxels_crc32, write_dicom_series, write_volume
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases
from tests.corpus.phantom import Series
from tests.support.tables import read_table

FILES = ["candidates.nii.gz", "labels.nii.gz", "nodules.csv", "nodules.nii.gz", "report.html", "result.json"]


@pytest.fixture(scope="module")
def options(bundles) -> SegmentOptions:
    how = {"device": "cpu", "precision": "fp32", "backend": "torch"}
    return SegmentOptions(**how, lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)


@pytest.fixture(scope="module")
def run(chest, options, tmp_path_factory):
    """One call with a bad input between two good ones, a DICOM series and a NIfTI of the same chest."""
    folder = tmp_path_factory.mktemp("run")
    write_dicom_series(folder / "chest-dicom", chest.ct)
    write_volume(folder / "chest-nifti.nii.gz", chest.ct)
    (folder / "broken.nii.gz").write_text("no image")
    calls: list[tuple[str, str, float]] = []
    inputs = [folder / "chest-dicom", folder / "broken.nii.gz", folder / "chest-nifti.nii.gz"]
    results = segment_cases(inputs, folder / "out", options, lambda *call: calls.append(call))
    return folder / "out", results, calls


@pytest.fixture(scope="module")
def result(run):
    return run[1][2]


@pytest.fixture(scope="module")
def record(run):
    return json.loads((run[0] / "chest-nifti" / "result.json").read_text(encoding="utf-8"))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def in_ras(path: Path) -> np.ndarray:
    return read_labels(path).as_ras().array


def test_a_bad_input_is_refused_with_its_code_and_the_good_ones_are_done(run):
    out, results, _ = run
    assert [(r.case_id, r.status) for r in results] == [
        ("chest-dicom", "done"),
        ("broken", "refused"),
        ("chest-nifti", "done"),
    ]
    assert [issue.code for issue in results[1].issues] == ["E_NOT_AN_IMAGE"]
    assert sorted(path.name for path in (out / "broken").iterdir()) == ["report.html", "result.json"]
    refused = json.loads((out / "broken" / "result.json").read_text(encoding="utf-8"))
    assert (refused["status"], refused["issues"][0]["code"]) == ("refused", "E_NOT_AN_IMAGE")
    assert "E_NOT_AN_IMAGE" in (out / "broken" / "report.html").read_text(encoding="utf-8")
    for case in ("chest-dicom", "chest-nifti"):
        assert sorted(path.name for path in (out / case).iterdir()) == FILES
        assert all(path.stat().st_size for path in (out / case).iterdir())


def test_lungs_and_nodule_lie_where_they_are(run, chest):
    found = read_labels(run[0] / "chest-nifti" / "labels.nii.gz")
    assert found.grid.matches(chest.ct.grid)
    for value, least in ((1, 0.97), (2, 0.97), (3, 0.9)):
        assert dice(found.array == value, chest.labels.array == value) > least


def test_label_files_have_the_types_and_values_that_are_promised(run):
    folder = run[0] / "chest-nifti"
    labels, nodules = (nibabel.load(folder / f"{name}.nii.gz") for name in ("labels", "nodules"))
    assert labels.get_data_dtype() == np.uint8
    assert nodules.get_data_dtype() == np.uint16
    assert set(np.unique(labels.dataobj)) == {0, 1, 2, 3}
    assert np.array_equal(np.asarray(labels.dataobj) == 3, np.asarray(nodules.dataobj) == 1)


def test_lungs_and_nodule_are_measured(result, chest):
    voxel_ml = chest.ct.voxel_volume_mm3 / 1000
    array = chest.labels.array
    known_ml = {"right_lung": (np.isin(array, (1, 3))).sum() * voxel_ml, "left_lung": (array == 2).sum() * voxel_ml}
    # Half-filled voxels of the 3 mm grid look like tissue to a threshold at -650 HU: a tenth of a voxel all around.
    assert {lung.name: lung.volume_ml for lung in result.lungs} == pytest.approx(known_ml, rel=0.06)
    (nodule,) = result.nodules
    assert nodule.volume_mm3 == pytest.approx((array == 3).sum() * chest.ct.voxel_volume_mm3, rel=0.15)
    assert nodule.centroid.ras_mm == pytest.approx((50, 10, -6), abs=1.0)
    assert nodule.centroid.lps_mm == pytest.approx((-50, -10, -6), abs=1.0)
    assert (nodule.id, nodule.side, nodule.kind) == (1, "right", "solid")
    assert nodule.density.mean_hu > -300
    assert 0.8 < nodule.certainty.confidence <= 1
    assert nodule.position.pleura_distance_mm == pytest.approx(15, abs=5)


def test_the_record_says_how_it_came_about(record, bundles):
    provenance = record["provenance"]
    for role, root in (("lungs", bundles.lungs), ("nodules", bundles.nodules)):
        sha256 = hashlib.sha256((root / "models" / "model.pt").read_bytes()).hexdigest()
        assert provenance["bundles"][role]["weights_sha256"] == sha256
        assert provenance["bundles"][role]["version"]
    assert provenance["bundles"]["lungs"]["name"] == "lung_ct_segmentation"
    assert provenance["bundles"]["nodules"]["name"] == "lung_nodule_ct_segmentation"
    assert set(provenance["versions"]) == {"lungseg3d", "torch", "monai", "python"}
    assert all(provenance["versions"].values())
    assert provenance["options"] == {"roi": "lungs", "device": "cpu", "backend": "torch", "precision": "fp32"}


def test_the_record_holds_grid_timings_memory_and_files(record, chest):
    assert record["grid"]["shape"] == list(chest.ct.shape)
    np.testing.assert_allclose(record["grid"]["affine_ras"], chest.ct.affine, atol=1e-4)
    assert list(record["timings_s"])[:5] == ["read", "lungs", "prepare", "nodules", "measure"]
    assert all(seconds >= 0 for seconds in record["timings_s"].values())
    assert record["timings_s"]["lungs"] > 0
    assert record["peak_memory_mib"] > 50
    assert sorted(record["files"]) == FILES
    assert (record["status"], record["source"]["format"]) == ("done", "NIfTI")
    assert [issue["code"] for issue in record["issues"]] == ["W_NO_OPERATING_POINT"]


def test_the_table_has_a_row_for_each_nodule_of_the_record(run, record):
    rows = read_table(run[0] / "chest-nifti" / "nodules.csv")
    assert [int(row["id"]) for row in rows] == [nodule["id"] for nodule in record["nodules"]] == [1]
    assert float(rows[0]["volume_mm3"]) == pytest.approx(record["nodules"][0]["volume_mm3"], abs=0.01)


def test_a_dicom_series_and_its_nifti_copy_give_the_same_labels(run):
    for name in ("labels.nii.gz", "nodules.nii.gz"):
        dicom, nifti = (in_ras(run[0] / case / name) for case in ("chest-dicom", "chest-nifti"))
        assert nifti.any()
        assert np.array_equal(dicom, nifti)


def test_progress_goes_from_0_to_1_for_every_case_and_never_back(run):
    calls = run[2]
    for case, last in (("chest-dicom", "done"), ("broken", "refused"), ("chest-nifti", "done")):
        fractions = [fraction for name, _, fraction in calls if name == case]
        assert fractions[0] == 0
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1
        assert [step for name, step, _ in calls if name == case][-1] == last
    steps = {step for name, step, _ in calls if name == "chest-nifti"}
    assert steps == {"read", "lungs", "prepare", "nodules", "measure", "check", "report", "write", "done"}


def turned(volume: Volume, order=(0, 1, 2), signs=(1, 1, 1)) -> Volume:
    """The same chest in the same place of the world, its voxels stored in another order."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
        turn[source, axis] = sign
        turn[source, 3] = 0 if sign > 0 else volume.shape[source] - 1
    array = volume.array.transpose(order)[tuple(slice(None, None, s) for s in signs)]
    return Volume(np.ascontiguousarray(array), volume.affine @ turn)


@pytest.mark.parametrize(
    ("order", "signs"),
    [((0, 1, 2), (-1, -1, 1)), ((0, 1, 2), (1, 1, -1)), ((2, 0, 1), (-1, 1, -1))],
    ids=["LPS", "head first", "permuted and flipped"],
)
def test_a_flipped_or_permuted_copy_gives_the_same_mask_in_the_world(run, chest, options, tmp_path, order, signs):
    copy = turned(chest.ct, order, signs)
    write_volume(tmp_path / "copy.nii.gz", copy)
    (result,) = segment_cases([tmp_path / "copy.nii.gz"], tmp_path / "out", options)
    labels = read_labels(tmp_path / "out" / "copy" / "labels.nii.gz")
    assert result.status == "done"
    assert labels.grid.matches(copy.grid)
    assert np.array_equal(labels.as_ras().array, in_ras(run[0] / "chest-nifti" / "labels.nii.gz"))


def test_an_oblique_copy_keeps_lungs_and_nodule_in_the_world(chest, options, tmp_path):
    c, s = np.cos(np.radians(12)), np.sin(np.radians(12))
    turn = np.array([[c, -s, 0, 30], [s, c, 0, -12], [0, 0, 1, 5], [0, 0, 0, 1]])
    write_volume(tmp_path / "oblique.nii.gz", Volume(chest.ct.array, turn @ chest.ct.affine))
    (result,) = segment_cases([tmp_path / "oblique.nii.gz"], tmp_path / "out", options)
    labels = read_labels(tmp_path / "out" / "oblique" / "labels.nii.gz")
    for value, least in ((1, 0.97), (2, 0.97), (3, 0.9)):
        assert dice(labels.array == value, chest.labels.array == value) > least
    expected = turn[:3, :3] @ (50, 10, -6) + turn[:3, 3]
    assert result.nodules[0].centroid.ras_mm == pytest.approx(expected, abs=1.0)


def test_the_full_roi_finds_no_lungs_and_says_so(chest, options, tmp_path):
    # A crop of the right lung alone, no wall: as nodule crops are.
    inside = (slice(41, 52), slice(18, 32), slice(9, 21))
    crop = Volume(chest.ct.array[inside], chest.ct.affine)
    write_volume(tmp_path / "crop.nii.gz", crop)
    full = SegmentOptions(**{**vars(options), "roi": "full"})
    (result,) = segment_cases([tmp_path / "crop.nii.gz"], tmp_path / "out", full)
    assert (result.status, result.lungs) == ("done", ())
    assert [issue.code for issue in result.issues] == ["W_NO_OPERATING_POINT"]
    assert result.provenance["options"]["roi"] == "full"
    assert set(result.provenance["bundles"]) == {"nodules"}
    (nodule,) = result.nodules
    assert (nodule.side, nodule.position.pleura_distance_mm) == ("unknown", None)
    known = chest.labels.array[inside] == 3
    found = read_labels(tmp_path / "out" / "crop" / "labels.nii.gz").array
    assert set(np.unique(found)) == {0, 3}
    assert dice(found == 3, known) > 0.9


def test_a_volume_without_lung_is_written_but_not_done(options, tmp_path):
    hu = np.random.default_rng(0).normal(40, 20, (20, 20, 20)).astype(np.int16)
    hu[0] = -550  # half air, as at the skin
    write_volume(tmp_path / "leg.nii.gz", Volume(hu, np.diag([3.0, 3, 3, 1])))
    (result,) = segment_cases([tmp_path / "leg.nii.gz"], tmp_path / "out", options)
    assert (result.status, result.lungs, result.nodules) == ("no_lungs", (), ())
    (issue,) = [issue for issue in result.issues if issue.code == "W_NO_LUNG"]
    assert "Is it a chest CT?" in issue.message
    page = (tmp_path / "out" / "leg" / "report.html").read_text(encoding="utf-8")
    assert "No lungs were found" in page
    assert "No nodules found" not in page
    assert sorted(path.name for path in (tmp_path / "out" / "leg").iterdir()) == FILES


def test_a_crop_of_lung_says_what_it_shows_and_offers_the_full_roi(chest, options, tmp_path):
    inside = (slice(41, 52), slice(14, 32), slice(9, 24))
    write_volume(tmp_path / "crop.nii.gz", Volume(np.ascontiguousarray(chest.ct.array[inside]), chest.ct.affine))
    (result,) = segment_cases([tmp_path / "crop.nii.gz"], tmp_path / "out", options)
    (issue,) = [issue for issue in result.issues if issue.code == "W_NO_LUNG"]
    assert result.status == "no_lungs"
    assert "tissue as dense as lung" in issue.message
    assert "roi" in issue.remedy
    assert "full" in issue.remedy
    assert result.checks["orientation"]["front_back"] == "not determined"


@pytest.fixture
def small(tmp_path) -> Path:
    """Something quick to segment with the full ROI."""
    hu = np.full((16, 16, 16), -900, np.int16)
    hu[5:11, 5:11, 5:11] = 40
    write_volume(tmp_path / "small.nii.gz", Volume(hu, np.diag([2.0, 2, 2, 1])))
    return tmp_path / "small.nii.gz"


def full_roi(options: SegmentOptions, **changes) -> SegmentOptions:
    return SegmentOptions(**{**vars(options), "roi": "full", **changes})


def test_results_are_never_overwritten_unasked(small, options, tmp_path):
    folder = tmp_path / "out" / "small"
    folder.mkdir(parents=True)
    (folder / "labels.nii.gz").write_text("mine")
    (result,) = segment_cases([small], tmp_path / "out", full_roi(options))
    assert (result.status, [issue.code for issue in result.issues]) == ("failed", ["E_OUTPUT_EXISTS"])
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("labels.nii.gz", "mine")]


def test_overwrite_replaces_and_an_empty_folder_is_no_result(small, options, tmp_path):
    folder = tmp_path / "out" / "small"
    folder.mkdir(parents=True)
    (result,) = segment_cases([small], tmp_path / "out", full_roi(options))
    assert result.status == "done"
    (folder / "labels.nii.gz").write_text("old")
    (result,) = segment_cases([small], tmp_path / "out", full_roi(options, overwrite=True))
    assert result.status == "done"
    assert (read_labels(folder / "labels.nii.gz").array == 3).sum() == 6**3
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_a_refusal_with_overwrite_leaves_no_masks_of_an_earlier_run(small, options, tmp_path):
    segment_cases([small], tmp_path / "out", full_roi(options))
    small.write_text("no image any more")
    (result,) = segment_cases([small], tmp_path / "out", full_roi(options, overwrite=True))
    assert result.status == "refused"
    assert sorted(path.name for path in (tmp_path / "out" / "small").iterdir()) == ["report.html", "result.json"]


def test_equal_names_get_folders_of_their_own(small, options, tmp_path):
    inputs = []
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        inputs.append(tmp_path / parent / "small.nii.gz")
        inputs[-1].write_bytes(small.read_bytes())
    results = segment_cases(inputs, tmp_path / "out", full_roi(options))
    assert [(r.case_id, r.status) for r in results] == [("small", "done"), ("small-2", "done")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["small", "small-2"]


def test_a_bug_in_one_case_is_a_failure_that_stops_no_other(small, options, tmp_path, monkeypatch):
    from lungseg3d.workflows.segment import results as segment_results

    calls = []

    def broken_once(*arguments, **more):
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("no such file: /ward 7/Quistelgard, Xaverine/1.dcm")
        return []

    monkeypatch.setattr(segment_results, "measure_nodules", broken_once)
    other = Path(shutil.copy(small, tmp_path / "other.nii.gz"))
    results = segment_cases([small, other], tmp_path / "out", full_roi(options))
    assert [r.status for r in results] == ["failed", "done"]
    (issue,) = results[0].issues
    assert issue.code == "E_UNEXPECTED"
    assert "RuntimeError in lungseg3d/workflows/segment/results.py, line " in issue.message
    assert "ward" not in issue.message
    assert "Xaverine" not in issue.message


@pytest.mark.parametrize(
    "fault",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")],
)
def test_memory_that_runs_out_is_said_in_words(small, options, tmp_path, monkeypatch, fault):
    from lungseg3d.workflows.segment import results as segment_results

    def greedy(*arguments, **more):
        raise fault

    monkeypatch.setattr(segment_results, "measure_nodules", greedy)
    (result,) = segment_cases([small], tmp_path / "out", full_roi(options))
    assert (result.status, result.issues[0].code) == ("failed", "E_OUT_OF_MEMORY")


def test_without_timings_two_runs_write_the_same_bytes(small, options, tmp_path):
    contents = []
    for out in ("one", "two"):
        (result,) = segment_cases([small], tmp_path / out, full_roi(options, write_timings=False))
        assert result.timings_s["nodules"] > 0
        contents.append({path.name: path.read_bytes() for path in (tmp_path / out / "small").iterdir()})
    assert sorted(contents[0]) == FILES
    assert contents[0] == contents[1]


def test_models_that_cannot_be_opened_stop_everything_before_a_case_is_written(small, options, tmp_path):
    missing = full_roi(options, nodule_bundle=tmp_path / "nowhere")
    with pytest.raises(BundleError, match="E_NO_BUNDLE"):
        segment_cases([small], tmp_path / "out", missing)
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_where_there_is_none_is_refused(small, options, tmp_path):
    with pytest.raises(BundleError, match="E_DEVICE"):
        segment_cases([small], tmp_path / "out", full_roi(options, device="cuda"))


def test_an_output_folder_that_cannot_be_made_is_an_error(small, options, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="E_WRITE"):
        segment_cases([small], tmp_path / "file" / "out", full_roi(options))


def test_no_input_gives_no_result(options, tmp_path):
    assert segment_cases([], tmp_path / "out", full_roi(options)) == []


def test_no_record_names_the_folders_above_the_input(run, tmp_path):
    folder = run[0].parent
    for path in run[0].rglob("*"):
        if path.suffix in (".json", ".csv", ".html"):
            assert str(folder) not in path.read_text(encoding="utf-8")


def test_a_folder_of_two_studies_is_two_cases_when_asked_and_refused_when_not(monkeypatch, tmp_path):
    for study in ("1", "2"):
        Series(study=study).write(tmp_path / "both" / study)

    def only_read(job):
        try:
            open_ct(job.source, job.options.read)
        except IntakeError as error:
            return CaseResult(job.case_id, "refused", issues=(QualityIssue(error.code, error.message),))
        return CaseResult(job.case_id, "done", source={"study": job.options.read.study})

    monkeypatch.setattr("lungseg3d.workflows.segment.cases.open_models", lambda options: None)
    line = "lungseg3d.workflows.segment.cases.segment_line"
    monkeypatch.setattr(line, lambda jobs, *_, **__: list(map(only_read, jobs)))
    (refused,) = segment_cases([tmp_path / "both"], tmp_path / "out")
    assert [issue.code for issue in refused.issues] == ["E_MIXED_STUDIES"]
    first, second = segment_cases([tmp_path / "both"], tmp_path / "out", SegmentOptions(recursive=True))
    assert (first.case_id, second.case_id) == ("both", "both-2")
    assert (first.source, second.source) == ({"study": "1.2.826.1"}, {"study": "1.2.826.2"})


@pytest.mark.parametrize("spelling", ["a.nii.gz", "./a.nii.gz", "x/../a.nii.gz", "link.nii.gz"])
def test_one_input_in_two_spellings_is_named_before_anything_is_done(tmp_path, monkeypatch, spelling):
    (tmp_path / "x").mkdir()
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    monkeypatch.chdir(tmp_path)
    inputs = [tmp_path / "a.nii.gz", "b.nii.gz", spelling]
    with pytest.raises(LungSegError, match=r"E_DUPLICATE_CASE.*inputs 1 and 3 are one file or folder"):
        segment_cases(inputs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_result_says_which_voxels_it_was_made_of(record, chest, run):
    assert len(record["source"]["voxels_crc32"]) == 8
    assert record["source"]["voxels_crc32"] == voxels_crc32(chest.ct)
    assert voxels_crc32(chest.ct.with_array(chest.ct.array + np.int16(1))) != voxels_crc32(chest.ct)
    c_order = Volume(np.ascontiguousarray(chest.ct.array), chest.ct.affine)
    f_order = Volume(np.asfortranarray(chest.ct.array), chest.ct.affine)
    assert voxels_crc32(c_order) == voxels_crc32(f_order)  # as another process hands it over
