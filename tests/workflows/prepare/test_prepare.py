"""Folders as they were downloaded become manifests; what is wrong with a case is said, and the others go on."""

import json
import shutil

import numpy as np
import pytest

from lungseg3d.core import LungSegError, OutputError, Volume
from lungseg3d.data import load_datalist
from lungseg3d.io import ReadOptions, read_labels, write_dicom_series, write_labels, write_volume
from lungseg3d.workflows.prepare.check import check_manifest
from lungseg3d.workflows.prepare.folder import find_folder, find_msd_lung
from lungseg3d.workflows.prepare.luna16 import find_luna16
from lungseg3d.workflows.prepare.run import prepare

AFFINE = np.array([[-2.0, 0, 0, 15], [0, -2, 0, 12], [0, 0, 5, -40], [0, 0, 0, 1]])
SHAPE = (16, 14, 22)


def make_ct(seed: int = 0) -> Volume:
    rng = np.random.default_rng(seed)
    hu = np.full(SHAPE, -1000, np.int16)
    hu[2:14, 2:12] = 40
    hu[4:7, 4:10] = -850
    return Volume(hu + rng.integers(0, 9, SHAPE).astype(np.int16), AFFINE)


def make_label(values=(1,)) -> Volume:
    array = np.zeros(SHAPE, np.uint8)
    for n, value in enumerate(values):
        array[3 + 6 * n : 6 + 6 * n, 5:8, 5:8] = value
    return Volume(array, AFFINE)


@pytest.fixture
def folder(tmp_path):
    """A data set of three images and labels."""
    root = tmp_path / "data"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for n in range(3):
        write_volume(root / "images" / f"case_000{n}.nii.gz", make_ct(n))
        write_labels(root / "labels" / f"case_000{n}.nii.gz", make_label())
    return root


def run(root, out, **options):
    return prepare(find_folder(root), root, out, **options)


def test_a_folder_becomes_a_manifest_that_training_can_load(folder, tmp_path):
    done = run(folder, tmp_path / "out", folds=2)
    entries = load_datalist(done.manifest, tmp_path / "out")
    assert [entry["case_id"] for entry in entries] == ["case_0000", "case_0001", "case_0002"]
    assert np.array_equal(read_labels(entries[1]["label"]).array, make_label().array)
    assert done.content["cases"][0]["facts"]["label_ml"] == {"1": 27 * 20 / 1000}
    assert {case["fold"] for case in done.content["cases"]} == {0, 1}


def test_the_same_source_gives_the_same_bytes_wherever_it_lies(folder, tmp_path):
    first = run(folder, tmp_path / "out", folds=2).manifest.read_bytes()
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "deeper")
    assert run(moved, tmp_path / "other" / "out", folds=2).manifest.read_bytes() == first


def test_how_the_cts_were_read_stands_in_the_manifest_and_check_reads_them_so(folder, tmp_path):
    stored = Volume(make_ct(1).array + np.int16(1024), AFFINE)
    write_volume(folder / "images" / "case_0001.nii.gz", stored)
    assert run(folder, tmp_path / "a").statuses.count("refused") == 1
    read = ReadOptions(fix_offset=True)
    done = prepare(find_folder(folder, read), folder, tmp_path / "b", read=read)
    assert (done.statuses, done.content["reading"]) == (("done",) * 3, {"fix_offset": True})
    assert check_manifest(done.manifest, tmp_path / "b") == (3, [])


def test_a_bad_case_is_listed_with_its_reason_and_the_others_go_on(folder, tmp_path):
    (folder / "images" / "case_0001.nii.gz").write_bytes(b"no image")
    (folder / "labels" / "case_0002.nii.gz").unlink()
    done = run(folder, tmp_path / "out")
    assert done.statuses == ("done", "refused", "refused")
    assert [(r["case_id"], r["code"]) for r in done.content["refused"]] == [
        ("case_0001", "E_NOT_AN_IMAGE"),
        ("case_0002", "E_NO_LABEL"),
    ]


def test_a_label_on_another_grid_is_refused(folder, tmp_path):
    shifted = AFFINE.copy()
    shifted[0, 3] += 1.0
    write_labels(folder / "labels" / "case_0001.nii.gz", Volume(make_label().array, shifted))
    (refused,) = run(folder, tmp_path / "out").content["refused"]
    assert refused["code"] == "E_GRID_MISMATCH"


def test_a_refused_case_moves_no_other_patient_to_another_fold(folder, tmp_path):
    before = {c["patient"]: c["fold"] for c in run(folder, tmp_path / "a", folds=2).content["cases"]}
    (folder / "images" / "case_0001.nii.gz").write_bytes(b"no image")
    after = {c["patient"]: c["fold"] for c in run(folder, tmp_path / "b", folds=2).content["cases"]}
    assert after == {patient: before[patient] for patient in after}


def test_nnunet_names_find_their_labels(folder, tmp_path):
    root = tmp_path / "nnunet"
    shutil.copytree(folder / "images", root / "imagesTr")
    shutil.copytree(folder / "labels", root / "labelsTr")
    for path in (root / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace(".nii.gz", "_0000.nii.gz")))
    done = run(root, tmp_path / "out")
    assert done.content["cases"][0]["files"]["image"] == "source/imagesTr/case_0000_0000.nii.gz"
    assert done.statuses == ("done",) * 3


def test_a_table_gives_patients_and_folds(folder, tmp_path):
    rows = ["image,label,patient,fold"]
    rows += [f"images/case_000{n}.nii.gz,labels/case_000{n}.nii.gz,p{n // 2},{n // 2}" for n in range(3)]
    (folder / "cases.csv").write_text("\n".join(rows))
    cases = run(folder, tmp_path / "out").content["cases"]
    assert [(case["patient"], case["fold"]) for case in cases] == [("p0", 0), ("p0", 0), ("p1", 1)]


def test_a_table_that_tears_a_patient_apart_is_refused(folder, tmp_path):
    rows = ["image,label,patient,fold", *(f"images/case_000{n}.nii.gz,,p,{n}" for n in range(2))]
    (folder / "cases.csv").write_text("\n".join(rows))
    with pytest.raises(LungSegError, match="E_SPLIT_LEAK"):
        run(folder, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_folder_of_something_else_is_refused_with_what_was_expected(tmp_path):
    with pytest.raises(LungSegError, match="images/ and labels/"):
        find_folder(tmp_path)


def test_a_folder_that_was_prepared_from_elsewhere_is_not_mixed_up(folder, tmp_path):
    run(folder, tmp_path / "out")
    other = shutil.copytree(folder, tmp_path / "other")
    with pytest.raises(OutputError, match="E_OUTPUT_EXISTS"):
        run(other, tmp_path / "out")


def test_out_may_lie_inside_the_source(folder):
    first = run(folder, folder / "prepared")
    assert run(folder, folder / "prepared").content == first.content


def test_the_decathlon_is_read_by_its_own_table(folder, tmp_path):
    root = tmp_path / "Task06_Lung"
    shutil.copytree(folder / "images", root / "imagesTr")
    shutil.copytree(folder / "labels", root / "labelsTr")
    training = [
        {"image": f"./imagesTr/case_000{n}.nii.gz", "label": f"./labelsTr/case_000{n}.nii.gz"} for n in range(2)
    ]
    (root / "dataset.json").write_text(json.dumps({"training": training, "test": []}))
    for source in (root, tmp_path):
        done = prepare(find_msd_lung(source), source, tmp_path / f"out-{source.name}", folds=2)
        assert [(c["case_id"], c["split"]) for c in done.content["cases"]] == [
            ("case_0000", "training"),
            ("case_0001", "training"),
        ]


@pytest.fixture
def luna(tmp_path):
    """Two scans in two subsets; in the second, seg-lungs has the sides the other way round."""
    root = tmp_path / "luna"
    (root / "seg-lungs-LUNA16").mkdir(parents=True)
    rows = ["seriesuid,coordX,coordY,coordZ,diameter_mm"]
    for n in range(2):
        (root / f"subset{n}").mkdir()
        write_mhd(root / f"subset{n}" / f"1.2.{n}.mhd", make_ct(n))
        # The array's x runs to the left: the first block lies on the right.
        write_mhd(root / "seg-lungs-LUNA16" / f"1.2.{n}.mhd", make_label((4, 3) if n == 0 else (3, 4)))
        rows.append(f"1.2.{n},{-AFFINE[0, 3] + 2 * 8},{-AFFINE[1, 3] + 2 * 6},{AFFINE[2, 3] + 5 * 9},12.0")
    (root / "annotations.csv").write_text("\n".join(rows))
    (root / "annotations_excluded.csv").write_text(rows[0] + "\n1.2.0,0,0,0,-1")
    return root


def write_mhd(path, volume: Volume):
    import SimpleITK

    image = SimpleITK.GetImageFromArray(volume.array.T)
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin((volume.affine[:3, 3] * [-1, -1, 1]).tolist())
    SimpleITK.WriteImage(image, str(path))


def test_luna16_takes_subsets_as_folds_and_lungs_by_their_place(luna, tmp_path):
    done = prepare(find_luna16(luna, spheres=True), luna, tmp_path / "out")
    assert [(c["patient"], c["fold"]) for c in done.content["cases"]] == [("1.2.0", 0), ("1.2.1", 1)]
    for case in done.content["cases"]:
        lungs = read_labels(tmp_path / "out" / case["files"]["label"])
        x_mm = [lungs.grid.to_world(np.argwhere(lungs.array == value).mean(0))[0] for value in (1, 2)]
        assert x_mm[0] > x_mm[1]
    assert [case["facts"]["right_lung_was"] for case in done.content["cases"]] == [4, 3]
    assert "W_SIDES_SWAPPED" in " ".join(done.content["cases"][1]["issues"])


def test_luna16_nodules_lie_where_the_table_says(luna, tmp_path):
    done = prepare(find_luna16(luna, spheres=True), luna, tmp_path / "out")
    case = done.content["cases"][0]
    expected = AFFINE @ [8, 6, 9, 1]
    assert case["facts"]["nodules"] == [{"centre_ras_mm": expected[:3].tolist(), "diameter_mm": 12.0}]
    assert case["facts"]["excluded"][0]["diameter_mm"] is None
    spheres = read_labels(tmp_path / "out" / case["files"]["spheres"])
    assert np.argwhere(spheres.array).mean(0) == pytest.approx([8, 6, 9])
    assert spheres.array.sum() * 20 == pytest.approx(np.pi * 12**3 / 6, rel=0.1)


def test_luna16_writes_no_spheres_unless_asked(luna, tmp_path):
    done = prepare(find_luna16(luna), luna, tmp_path / "out")
    assert all("spheres" not in case["files"] for case in done.content["cases"])


def test_the_checksum_of_an_mhd_covers_its_raw(luna, tmp_path):
    before = prepare(find_luna16(luna), luna, tmp_path / "a").content["cases"][0]["sha256"]["image"]
    raw = luna / "subset0" / "1.2.0.raw"
    raw.write_bytes(raw.read_bytes()[:-2] + b"\1\0")
    after = prepare(find_luna16(luna), luna, tmp_path / "b").content["cases"][0]["sha256"]["image"]
    assert before != after


def test_a_series_is_one_case_by_its_folder(tmp_path):
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    write_dicom_series(root / "images" / "a", make_ct())
    write_labels(root / "labels" / "a.nii.gz", make_label())
    (case,) = run(root, tmp_path / "out").content["cases"]
    assert case["files"]["image"] == "source/images/a"
