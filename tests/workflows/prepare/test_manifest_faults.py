"""Check, training and evaluation agree: what one of them refuses, all of them refuse, with the same code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import LungSegError, Volume
from lungseg3d.data import read_manifest
from lungseg3d.io import SeriesSpec, read_volume, write_dicom_series, write_labels, write_volume
from lungseg3d.workflows.evaluate.run import EvaluateOptions, evaluate
from lungseg3d.workflows.prepare.check import check_manifest
from lungseg3d.workflows.prepare.faults import joined_warnings, label_faults, manifest_faults, refuse_faults
from lungseg3d.workflows.prepare.folder import find_folder
from lungseg3d.workflows.prepare.run import prepare
from lungseg3d.workflows.train.checks import check_training, training_configuration
from tests.support.small_data import BUNDLES, NODULES, crops_overrides

SHAPE, AFFINE = (16, 14, 22), np.diag([2.0, 2.0, 5.0, 1.0])


def make_ct(seed: int) -> Volume:
    hu = np.full(SHAPE, -1000, np.int16)
    hu[2:14, 2:12], hu[4:7, 4:10] = 40, -850
    return Volume(hu + np.random.default_rng(seed).integers(0, 9, SHAPE).astype(np.int16), AFFINE)


def mask(value: int = 1) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[4:6, 5:8, 6:9] = value
    return array


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Three cases whose label 1 is a nodule, and their predictions, all perfect."""
    for n in range(3):
        write_volume(tmp_path / f"c{n}.nii.gz", make_ct(n))
        write_labels(tmp_path / f"label-{n}.nii.gz", Volume(mask(), AFFINE))
        (tmp_path / "predictions").mkdir(exist_ok=True)
        write_labels(tmp_path / "predictions" / f"c{n}.nii.gz", Volume(mask(), AFFINE))
    cases = [
        {
            "case_id": f"c{n}",
            "patient": f"p{n}",
            "fold": n,
            "files": {"image": f"c{n}.nii.gz", "label": f"label-{n}.nii.gz"},
        }
        for n in range(3)
    ]
    content = {"name": "set", "source": "the test", "structures": {"1": "nodule"}, "cases": cases}
    (tmp_path / "set.json").write_text(json.dumps(content))
    return tmp_path


def change(dataset: Path, edit) -> None:
    content = json.loads((dataset / "set.json").read_text())
    edit(content)
    (dataset / "set.json").write_text(json.dumps(content))


def check_codes(dataset: Path) -> set[str]:
    try:
        _, faults = check_manifest(dataset / "set.json", dataset, lungs=False)
    except LungSegError as error:
        return {error.code}
    return {fault.issue.code for fault in faults}


def evaluate_codes(dataset: Path) -> set[str]:
    try:
        done = evaluate(dataset / "set.json", dataset / "predictions", dataset / "out", EvaluateOptions(pictures=False))
    except LungSegError as error:
        return {error.code}
    return {entry["code"] for entry in (*done.content["failed"], *done.content["warnings"])}


def train_codes(dataset: Path) -> set[str]:
    overrides = crops_overrides(dataset) | {"nodule_manifest": str(dataset / "set.json"), "train::hosts::data": "[]"}
    root = BUNDLES / NODULES
    parser = training_configuration([root / "configs" / "train.json"], root, overrides, fold=0, output_dir="/none")
    try:
        check_training(parser, root)
    except LungSegError as error:
        return {error.code}
    return set()


ALL = pytest.mark.parametrize("codes", [check_codes, evaluate_codes, train_codes])


@ALL
def test_a_good_data_set_is_good_for_all_of_them(dataset, codes):
    assert codes(dataset) == set()


@ALL
@pytest.mark.parametrize("value", [255, 3])
def test_a_reference_with_another_value_is_refused_by_all_of_them(dataset, codes, value):
    write_labels(dataset / "label-1.nii.gz", Volume(mask(value), AFFINE))
    assert codes(dataset) == {"E_LABEL_VALUES"}


@ALL
def test_a_reference_turned_round_is_refused_by_all_of_them(dataset, codes):
    write_labels(dataset / "label-1.nii.gz", Volume(1 - mask(), AFFINE))
    assert codes(dataset) == {"E_LABEL_INVERTED"}


@ALL
def test_labels_that_nobody_explains_are_refused_by_all_of_them(dataset, codes):
    change(dataset, lambda content: content.pop("structures"))
    assert codes(dataset) == {"E_MANIFEST"}
    change(dataset, lambda content: content.update(conventions={"label": {"1": "tumour"}}))
    assert codes(dataset) == set()


@ALL
def test_two_cases_of_one_id_are_refused_by_all_of_them(dataset, codes):
    change(dataset, lambda content: content["cases"][1].update(case_id="C0"))
    assert codes(dataset) == {"E_DUPLICATE_CASE"}


@ALL
@pytest.mark.parametrize("spelling", ["./c0.nii.gz", "again.nii.gz"])
def test_one_image_in_two_spellings_is_refused_by_all_of_them(dataset, codes, spelling):
    (dataset / "again.nii.gz").symlink_to(dataset / "c0.nii.gz")
    change(dataset, lambda content: content["cases"][1]["files"].update(image=spelling))
    assert codes(dataset) == {"E_DUPLICATE_CASE"}


def test_a_value_that_is_called_background_is_left_out(dataset):
    both = mask()
    both[0, 0, :3] = 7
    write_labels(dataset / "label-1.nii.gz", Volume(both, AFFINE))
    change(dataset, lambda content: content["structures"].update({"7": "background"}))
    assert check_codes(dataset) == evaluate_codes(dataset) == train_codes(dataset) == set()


def test_a_refusal_names_the_other_cases_and_a_warning_does_too(dataset):
    for n in (0, 2):
        write_labels(dataset / f"label-{n}.nii.gz", Volume(mask(9), AFFINE))
    content = read_manifest(dataset / "set.json")
    entries = [{"case_id": f"c{n}", "label": str(dataset / f"label-{n}.nii.gz")} for n in range(3)]
    faults = label_faults(content, entries)
    with pytest.raises(
        LungSegError, match=r"E_LABEL_VALUES: set: c0: the label holds only 9 \(18 voxels\).*1 more.*c2"
    ):
        refuse_faults(faults, "set")
    (joined,) = joined_warnings(faults)
    assert "1 more: c2" in joined.message


def test_a_prediction_with_other_values_is_refused_or_warned_of_and_never_0_in_silence(dataset):
    write_labels(dataset / "predictions" / "c0.nii.gz", Volume(mask(255), AFFINE))
    both = mask()
    both[0, 0, :3] = 7
    write_labels(dataset / "predictions" / "c1.nii.gz", Volume(both, AFFINE))
    words = ["evaluate", "-m", str(dataset / "set.json"), "--predictions", str(dataset / "predictions")]
    shown = CliRunner().invoke(app, [*words, "--no-pictures", "--out", str(dataset / "out")])
    assert shown.exit_code == 8
    assert "E_LABEL_VALUES: c0: the prediction holds only 255 (18 voxels); the manifest knows 1" in shown.output
    assert "W_LABEL_VALUES: c1: the prediction holds 7 (3 voxels)" in shown.output
    summary = json.loads((dataset / "out" / "summary.json").read_text())
    assert (summary["evaluated"], summary["structures"]["nodule"]["dice"]["mean"]) == (2, 1.0)


@pytest.mark.parametrize("turned", [1 - mask(), np.ones(SHAPE, np.uint8)], ids=["inverted", "all foreground"])
def test_a_prediction_turned_round_is_named_and_in_no_mean(dataset, turned):
    write_labels(dataset / "predictions" / "c0.nii.gz", Volume(turned, AFFINE))
    assert evaluate_codes(dataset) == {"E_LABEL_INVERTED"}


def test_a_region_to_be_ignored_that_is_the_background_is_refused(dataset):
    change(dataset, lambda content: content["cases"][0]["files"].update(ignore="ignore.nii.gz"))
    write_labels(dataset / "ignore.nii.gz", Volume(1 - mask(), AFFINE))
    assert evaluate_codes(dataset) == {"E_LABEL_INVERTED"}


def dicom(folder: Path, seed: int, patient: str, **tags: str) -> Path:
    """A series of a study of its own."""
    for path in write_dicom_series(folder, make_ct(seed), spec=SeriesSpec(seed=f"study {seed}")):
        header = pydicom.dcmread(path)
        header.PatientID = patient
        for keyword, value in tags.items():
            setattr(header, keyword, value)
        header.save_as(path)
    return folder


@pytest.fixture
def series(tmp_path) -> Path:
    """Two CTs each of two patients, as DICOM; names say nothing of whose they are."""
    for n, patient in enumerate(("4711", "4712", "4711", "4712")):
        image = read_volume(dicom(tmp_path / "data" / "images" / f"scan-{n}", n, patient))
        (tmp_path / "data" / "labels").mkdir(exist_ok=True)
        label = np.zeros(image.shape, np.uint8)
        label[5:8, 5:8, 6:9] = 1
        write_labels(tmp_path / "data" / "labels" / f"scan-{n}.nii.gz", image.with_array(label))
    return tmp_path / "data"


def test_folds_are_by_the_patients_of_the_dicom_headers_and_no_file_names_them(series, tmp_path):
    done = prepare(find_folder(series), series, tmp_path / "out", folds=2)
    folds = [case["fold"] for case in done.content["cases"]]
    assert folds[0] == folds[2] != folds[1] == folds[3]
    assert [case["patient"] for case in done.content["cases"]] == ["scan-0", "scan-1", "scan-0", "scan-1"]
    assert "PatientID" in done.content["conventions"]["patient"]
    text = re.sub(r"[0-9a-f]{64}", "", done.manifest.read_text())
    assert "4711" not in text
    assert "4712" not in text


def test_an_issuer_or_a_birth_date_keeps_equal_numbers_of_two_hospitals_apart(tmp_path):
    for n, (issuer, born) in enumerate((("A", "19500101"), ("B", "19500101"), ("A", "19600202"))):
        dicom(tmp_path / "images" / f"s{n}", n, "1", IssuerOfPatientID=issuer, PatientBirthDate=born)
    (tmp_path / "labels").mkdir()
    assert len({case.patient for case in find_folder(tmp_path).cases}) == 3


def test_placeholders_of_an_anonymiser_join_nobody(tmp_path):
    for n in range(3):
        dicom(tmp_path / "images" / f"s{n}", n, "ANONYMOUS")
    (tmp_path / "labels").mkdir()
    assert len({case.patient for case in find_folder(tmp_path).cases}) == 3


def test_check_and_training_find_a_patient_of_the_headers_in_two_folds(series, tmp_path):
    done = prepare(find_folder(series), series, tmp_path / "out", folds=2)
    content = json.loads(done.manifest.read_text())
    for n, case in enumerate(content["cases"]):
        case |= {"patient": case["case_id"], "fold": n // 2}
    done.manifest.write_text(json.dumps(content))
    _, faults = check_manifest(done.manifest, tmp_path / "out", lungs=False)
    leaks = [fault.issue.message for fault in faults if fault.issue.code == "E_SPLIT_LEAK"]
    assert len(leaks) == 2
    assert "scan-0 and scan-2 are of one patient by their DICOM headers, but in fold 0 and 1" in leaks[0]
    assert not any("471" in leak for leak in leaks)
    for case in content["cases"]:
        del case["fold"]
    assert {f.issue.code for f in manifest_faults(content, tmp_path / "out")} == {"W_SAME_PATIENT"}


def test_time_points_in_names_of_nnunet_are_one_patient_and_that_is_said(tmp_path):
    root = tmp_path / "data"
    for name in ("P08_t0", "P08_t1", "P09_t0"):
        (root / "imagesTr").mkdir(parents=True, exist_ok=True)
        (root / "labelsTr").mkdir(exist_ok=True)
        write_volume(root / "imagesTr" / f"{name}_0000.nii.gz", make_ct(len(name)))
        write_labels(root / "labelsTr" / f"{name}.nii.gz", Volume(mask(), AFFINE))
    shown = CliRunner().invoke(app, ["prepare", "folder", str(root), str(tmp_path / "out"), "--folds", "2"])
    assert "3 cases of 2 patients" in shown.output
    assert "W_PATIENT_ASSUMED" in shown.output
    assert "P08 for P08_t0, P08_t1" in shown.output
    cases = read_manifest(tmp_path / "out" / "manifest.json")["cases"]
    assert cases[0]["fold"] == cases[1]["fold"] != cases[2]["fold"]


def table(tmp_path: Path, *rows: str) -> Path:
    root = tmp_path / "data"
    for n, patient in enumerate(("p1", "p2")):
        (root / patient).mkdir(parents=True)
        write_volume(root / patient / "baseline.nii.gz", make_ct(n))
        write_volume(root / patient / "later.nii.gz", make_ct(n + 10))
        write_labels(root / patient / "nodule.nii.gz", Volume(mask(), AFFINE))
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    return root


def test_images_of_one_name_in_two_folders_are_of_two_patients_and_a_folders_images_of_one(tmp_path):
    names = ("p1/baseline", "p1/later", "p2/baseline", "p2/later")
    root = table(tmp_path, "image,label", *(f"{name}.nii.gz,{name[:2]}/nodule.nii.gz" for name in names))
    assert [case.patient for case in find_folder(root).cases] == ["p1", "p1", "p2", "p2"]


def test_a_table_that_names_one_image_twice_has_the_second_refused(tmp_path):
    rows = ("image,label", "p1/baseline.nii.gz,p1/nodule.nii.gz", "p2/../p1/baseline.nii.gz,p1/nodule.nii.gz")
    root = table(tmp_path, *rows)
    done = prepare(find_folder(root), root, tmp_path / "out")
    assert done.statuses == ("done", "refused")
    assert done.content["refused"][0]["code"] == "E_DUPLICATE_CASE"
