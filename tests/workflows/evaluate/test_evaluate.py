"""`evaluate`: known masks through the program, what it refuses, and that twice is the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import LungSegError, UsageError, Volume
from lungseg3d.inference import shipped_bundle
from lungseg3d.io import read_labels, sha256_of, write_labels, write_volume
from lungseg3d.tracking.store import Store
from lungseg3d.workflows.evaluate import run as evaluate_module
from lungseg3d.workflows.evaluate.cases import measure_mask, score_case
from lungseg3d.workflows.evaluate.run import EvaluateOptions, evaluate
from lungseg3d.workflows.evaluate.tracking import means_of
from lungseg3d.workflows.listing.settings import read_settings
from lungseg3d.workflows.replay import replay
from lungseg3d.workflows.train.record import write_training_record
from tests.support.tables import read_table

AFFINE = np.diag([2.0, 1.0, 1.0, 1.0])
SHAPE = (24, 30, 20)


def boxes(*parts: tuple[int, tuple[int, int, int], tuple[int, int, int]]) -> np.ndarray:
    """(value, start, size) of each box."""
    found = np.zeros(SHAPE, np.uint8)
    for value, start, size in parts:
        found[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = value
    return found


REFERENCES = {
    "one": boxes((1, (4, 4, 4), (4, 8, 8))),
    "two": boxes((1, (2, 2, 2), (4, 8, 8)), (1, (14, 18, 8), (4, 8, 8))),
    "none": boxes(),
}
PREDICTIONS = {
    "one": boxes((3, (4, 4, 4), (2, 8, 8))),  # half of it: Dice 2/3
    "two": boxes((3, (2, 2, 2), (4, 8, 8))),  # one equal, one missed
    "none": boxes((3, (10, 10, 10), (2, 4, 4))),  # nothing there: false
}
CONFIDENCE = {"one": 0.9, "two": 0.8, "none": 0.3}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three cases of two patients and their results as `segment` leaves them."""
    cases = []
    for name, label in REFERENCES.items():
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        hu = np.where(label > 0, 30, -850).astype(np.int16)
        hu[-2:] = 40  # a wall: without tissue a CT is none
        write_volume(folder / f"{name}.nii.gz", Volume(hu, AFFINE))
        write_labels(folder / f"{name}-label.nii.gz", Volume(label, AFFINE))
        facts = {"texture": 5} if name == "one" else {}
        files = {"image": f"{name}.nii.gz", "label": f"{name}-label.nii.gz"}
        case = {"case_id": name, "patient": "a" if name == "one" else "b", "fold": int(name == "one")}
        cases.append({**case, "split": "test" if name != "none" else "empty", "files": files, "facts": facts})
        result = tmp_path / "results" / name
        result.mkdir(parents=True)
        write_labels(result / "labels.nii.gz", Volume(PREDICTIONS[name], AFFINE))
        write_labels(result / "nodules.nii.gz", Volume((PREDICTIONS[name] > 0).astype(np.uint16), AFFINE))
        (result / "result.json").write_text(json.dumps({"nodules": [{"id": 1, "confidence": CONFIDENCE[name]}]}))
    content = {"name": "boxes", "source": "the test", "structures": {"1": "nodule"}, "cases": cases}
    (tmp_path / "data" / "boxes.json").write_text(json.dumps(content))
    return tmp_path


def run(data: Path, **options) -> dict:
    done = evaluate(data / "data" / "boxes.json", data / "results", data / "out", EvaluateOptions(**options))
    return json.loads(json.dumps(done.content))


def test_known_boxes_have_known_numbers(data):
    found = run(data)
    assert found["structures"]["nodule"]["dice"]["mean"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3, abs=1e-6)
    assert found["structures"]["nodule"]["volume_error"]["n"] == 2  # not defined where nothing is
    assert found["structures"]["nodule"]["hd95_mm"]["n"] == 2
    nodules = found["nodules"]["all"]
    assert (nodules["nodules"], nodules["found"], nodules["marks"]) == (3, 2, 3)
    assert nodules["detection"]["mean"] == pytest.approx(2 / 3, abs=1e-6)
    assert nodules["precision"]["mean"] == pytest.approx(2 / 3, abs=1e-6)
    assert nodules["dice"]["mean"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-6)
    assert nodules["dice_of_found"]["mean"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)
    assert [(row["name"], row["nodules"]) for row in found["nodules"]["by_texture"]] == [("solid", 1)]
    # 8 x 8 x 8 mm are a sphere of 9.9 mm; the false one has 64 mm3.
    assert [(row["name"], row["nodules"], row["marks"]) for row in found["nodules"]["by_size"]] == [
        ("below 6 mm", 0, 1),
        ("8 to 15 mm", 3, 2),
    ]
    assert found["agreement"]["nodule_mm3"]["bias"] == pytest.approx(-128)
    # By falling confidence two hits, then the false one, on three scans.
    assert found["froc"]["sensitivity"] == [pytest.approx(2 / 3, abs=1e-6)] * 7
    assert found["calibration"]["ece"] == pytest.approx((0.1 + 0.2 + 0.3) / 3, abs=1e-6)
    assert found["patients"] == 2


def test_the_tables_have_a_row_a_case_and_a_row_a_nodule(data):
    run(data)
    cases = read_table(data / "out" / "cases.csv")
    assert [(row["case_id"], row["dice"], row["reference_mm3"]) for row in cases] == [
        ("one", "0.666667", "512.0"),
        ("two", "0.666667", "1024.0"),
        ("none", "0.0", "0.0"),
    ]
    nodules = read_table(data / "out" / "nodules.csv")
    assert [row["outcome"] for row in nodules] == ["found", "found", "missed", "false"]
    assert nodules[0]["centre_ras_mm"] == "11 7.5 7.5"
    page = (data / "out" / "evaluation.html").read_text()
    assert "Research use only" in page
    assert page.count("data:image/jpeg") == 3


def test_twice_is_byte_for_byte_the_same(data):
    written = []
    for name in ("out", "again"):
        evaluate(data / "data" / "boxes.json", data / "results", data / name, EvaluateOptions(against=data / "results"))
        written.append({path.name: path.read_bytes() for path in (data / name).iterdir()})
    assert set(written[0]) == {"cases.csv", "nodules.csv", "summary.json", "evaluation.html"}
    assert written[0] == written[1]


TRACKED_PARAMETERS = {
    "manifest": "boxes",
    "split": "",
    "predictions": "results",
    "against": "None",
    "least_iou": "0.1",
}


def test_means_and_files_go_to_mlflow_where_asked(data, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run(data, track=True)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{data / 'out' / 'mlruns.db'}")
    experiment = client.get_experiment_by_name("evaluate-boxes")
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    name = tracked.info.run_name
    assert name.startswith("results-")
    assert tracked.data.tags == {"lungseg3d.parent": name, "mlflow.runName": name}
    assert tracked.data.params == TRACKED_PARAMETERS
    assert tracked.data.metrics["nodules/detection"] == pytest.approx(2 / 3, abs=1e-6)
    assert tracked.data.metrics["dice/nodule"] == pytest.approx(4 / 9, abs=1e-6)
    files = {item.path for item in client.list_artifacts(tracked.info.run_id)}
    assert files == {"cases.csv", "nodules.csv", "summary.json", "evaluation.html"}


def test_what_a_tracking_server_that_is_down_missed_is_replayed(data, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    content = run(data, track=True)
    assert "W_TRACKING_OFFLINE" in caplog.text
    assert f"lungseg3d replay {data / 'out'}" in caplog.text
    assert "secret" not in caplog.text + (data / "out" / "tracking.jsonl").read_text()
    assert (data / "out" / "summary.json").is_file()
    later = f"sqlite:///{data / 'later.db'}"
    replay(data / "out", later)
    client = Store(later, data / "out").client
    experiment = client.get_experiment_by_name("evaluate-boxes")
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params == TRACKED_PARAMETERS
    assert tracked.data.metrics == pytest.approx(means_of(content))
    files = {item.path for item in client.list_artifacts(tracked.info.run_id)}
    assert files == {"cases.csv", "nodules.csv", "summary.json", "evaluation.html"}


def test_cases_that_the_weights_were_trained_on_are_named(data):
    manifest = data / "data" / "boxes.json"
    bundle = data / "bundle"
    (bundle / "configs").mkdir(parents=True)
    assert run(data, bundle=bundle)["warnings"] == []  # it does not say what it saw
    write_training_record(bundle, [(manifest, 1)])
    (warning,) = run(data, bundle=bundle)["warnings"]
    assert warning["code"] == "W_TRAINED_ON"
    assert "2 of the 3 cases: two (same patient), none (same patient)" in warning["message"]
    assert run(data, bundle=bundle, fold=1)["warnings"] == []
    words = ["evaluate", "-m", str(manifest), "--predictions", str(data / "results"), "--out", str(data / "out")]
    assert "W_TRAINED_ON" in CliRunner().invoke(app, [*words, "--bundle", str(bundle)]).output
    page = (data / "out" / "evaluation.html").read_text(encoding="utf-8")
    first, code, way_out = (page.index(words) for words in ("What to know first", "W_TRAINED_ON", warning["remedy"]))
    assert first < code < way_out < page.index('id="voxels"')
    assert "These cases are in no number below" not in page


def test_results_of_shipped_weights_are_known_by_their_checksum(data):
    bundle = shipped_bundle("lung_nodule_ct_segmentation")
    about = {"name": bundle.name, "weights_sha256": sha256_of(bundle / "models" / "model.pt")}
    case = json.loads((bundle / "configs" / "training_cases.json").read_text())["datasets"][0]["cases"][0]
    manifest = json.loads((data / "data" / "boxes.json").read_text())
    manifest["cases"][1]["sha256"] = {"image": case["sha256"]}
    (data / "data" / "boxes.json").write_text(json.dumps(manifest))
    for found, weights in (([], "0" * 64), (["W_TRAINED_ON"], about["weights_sha256"])):
        named = {"nodules": about | {"weights_sha256": weights}}
        (data / "results" / "one" / "result.json").write_text(json.dumps({"provenance": {"bundles": named}}))
        assert [warning["code"] for warning in run(data)["warnings"]] == found


def test_splits_and_folds_choose_cases(data):
    assert run(data, split="test")["cases"] == 2
    assert run(data, fold=1)["cases"] == 1
    with pytest.raises(UsageError, match="E_NO_SPLIT") as caught:
        run(data, split="tset")
    assert "Splits: empty, test; folds: 0, 1." in str(caught.value)
    with pytest.raises(UsageError, match="no case in fold 4"):
        run(data, fold=4)


def test_label_maps_by_case_id_have_the_values_of_the_manifest_and_their_parts_are_nodules(data):
    flat = data / "flat"
    flat.mkdir()
    for name, label in PREDICTIONS.items():
        # Stored with the first axis reversed, as another program may write it.
        flipped = np.diag([-2.0, 1.0, 1.0, 1.0])
        flipped[0, 3] = 2.0 * (SHAPE[0] - 1)
        write_labels(flat / f"{name}.nii.gz", Volume((label[::-1] > 0).astype(np.uint8), flipped))
    ours = evaluate(data / "data" / "boxes.json", flat, data / "flat-out").content
    theirs = run(data)
    assert ours["structures"] == theirs["structures"]
    assert ours["nodules"] == theirs["nodules"]
    assert ours["froc"] is None  # label maps carry no confidence


def test_a_case_without_a_prediction_or_on_another_grid_is_named_and_the_others_go_on(data):
    (data / "results" / "one" / "labels.nii.gz").unlink()
    write_labels(data / "results" / "two" / "labels.nii.gz", Volume(PREDICTIONS["two"], np.eye(4)))
    words = ["evaluate", "-m", str(data / "data" / "boxes.json"), "--predictions", str(data / "results")]
    ran = CliRunner().invoke(app, [*words, "--out", str(data / "out")])
    assert ran.exit_code == 8, ran.output
    assert "E_NO_PREDICTION: one: results has neither one/labels.nii.gz nor one.nii.gz" in ran.output
    assert "E_GRID_MISMATCH: two: the prediction has 24 x 30 x 20 voxels of 1 x 1 x 1 mm" in ran.output
    summary = json.loads((data / "out" / "summary.json").read_text())
    assert (summary["cases"], summary["evaluated"]) == (3, 1)
    assert [failure["case_id"] for failure in summary["failed"]] == ["one", "two"]
    rows = read_table(data / "out" / "cases.csv")
    assert [row["issue"] for row in rows] == ["E_NO_PREDICTION", "E_GRID_MISMATCH", ""]


def test_a_case_in_which_no_lungs_were_found_is_named_and_its_empty_masks_count_for_nothing(data):
    labels = data / "results" / "one" / "labels.nii.gz"
    write_labels(labels, read_labels(labels).with_array(np.zeros(SHAPE, np.uint8)))
    (labels.parent / "result.json").write_text(json.dumps({"case_id": "one", "status": "no_lungs", "nodules": []}))
    content = run(data)
    (failure,) = content["failed"]
    assert (failure["case_id"], failure["code"]) == ("one", "E_NO_PREDICTION")
    assert "no lungs were found" in failure["message"]


@pytest.mark.parametrize(
    "record", ["{", "[]", '{"nodules": [{"confidence": 1}]}', '{"nodules": [{"id": 1, "confidence": 7}]}']
)
def test_a_record_of_another_form_costs_the_confidence_and_nothing_else(data, record):
    for name in CONFIDENCE:
        (data / "results" / name / "result.json").write_text(record)
    found = run(data)
    assert (found["evaluated"], found["nodules"]["all"]["found"]) == (3, 2)
    assert found["froc"] is None
    assert found["warnings"] == []


def test_a_case_that_fails_for_a_reason_nobody_thought_of_leaves_the_others_alone(data, monkeypatch):
    def failing(entry, *_):
        if entry["case_id"] == "two":
            raise ZeroDivisionError("nobody thought of it")
        return score_case(entry, *_)

    monkeypatch.setattr(evaluate_module, "score_case", failing)
    found = run(data)
    assert found["evaluated"] == 2
    assert found["failed"][0]["code"] == "E_UNEXPECTED"
    message = found["failed"][0]["message"]
    assert message.startswith("two: ZeroDivisionError in lungseg3d/workflows/evaluate/run.py, line ")
    assert "nobody thought of it" not in message  # an error's own words may name a patient


def test_nothing_of_a_hostile_bundle_is_run_as_an_evaluation_asks_its_record_only(data, tmp_path):
    bundle, owned = tmp_path / "hostile", tmp_path / "owned"
    for name, text in {
        "configs/inference.json": {"network": f"$open({str(owned)!r}, 'w')"},
        "configs/metadata.json": {"version": f"$open({str(owned)!r}, 'w')", "training_data": None},
        "configs/train.json": {"_target_": "os.system", "command": f"touch {owned}"},
    }.items():
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_text(json.dumps(text))
    (bundle / "torch.py").write_text(f"open({str(owned)!r}, 'w')")
    (bundle / "configs" / "logging.conf").write_text(f"[handler_x]\nclass=open({str(owned)!r}, 'w')\nargs=()\n")
    (bundle / "models").mkdir()
    (bundle / "models" / "model.pt").write_bytes(b"cposix\nsystem\n(Vtouch " + str(owned).encode() + b"\ntR.")
    assert run(data, bundle=bundle)["evaluated"] == 3
    for record in ("[" * 100_000, "{", '{"datasets": [{"cases": [{"case_id": 1}]}]}', "\udcff"):
        (bundle / "configs" / "training_cases.json").write_text(record, errors="surrogateescape")
        with pytest.raises(LungSegError, match="E_TRAINING_RECORD"):
            run(data, bundle=bundle)
    assert not owned.exists()


def test_nothing_to_evaluate_ends_with_3(data):
    (data / "empty").mkdir()
    words = ["evaluate", "-m", str(data / "data" / "boxes.json"), "--predictions", str(data / "empty")]
    assert CliRunner().invoke(app, [*words, "--out", str(data / "out")]).exit_code == 3


def test_a_comparison_is_case_by_case_on_the_cases_that_both_have(data):
    other = data / "other"
    other.mkdir()
    for name in ("one", "two"):
        write_labels(other / f"{name}.nii.gz", Volume(REFERENCES[name], AFFINE))
    found = run(data, against=other)["comparison"]
    assert found["cases"] == 2
    assert found["structures"]["nodule"]["dice"]["mean"] == pytest.approx(-1 / 3, abs=1e-6)
    assert found["nodule_dice"]["n"] == 3


def test_what_is_ignored_is_in_neither_mask(data):
    manifest = json.loads((data / "data" / "boxes.json").read_text())
    manifest["cases"] = manifest["cases"][:1]
    manifest["cases"][0]["files"]["ignore"] = "ignore.nii.gz"
    write_labels(data / "data" / "ignore.nii.gz", Volume(boxes((1, (6, 4, 4), (1, 8, 8))), AFFINE))
    for margin, dice in ((0, 0.8), (1, 1.0)):
        (data / "data" / "boxes.json").write_text(json.dumps(manifest | {"ignore_margin_voxels": margin}))
        assert run(data)["structures"]["nodule"]["dice"]["mean"] == pytest.approx(dice, abs=1e-6)


def test_one_patient_has_no_interval(data):
    words = ["evaluate", "-m", str(data / "data" / "boxes.json"), "--predictions", str(data / "results"), "--fold", "1"]
    ran = CliRunner().invoke(app, [*words, "--out", str(data / "out")])
    assert ran.exit_code == 0, ran.output
    assert "0.667 (" not in ran.output
    summary = json.loads((data / "out" / "summary.json").read_text())
    assert summary["structures"]["nodule"]["dice"] == {"mean": 0.666667, "low": None, "high": None, "n": 1}
    assert {grade["verdict"] for grade in summary["grades"]} == {"open"}
    assert "0.667–0.667" not in (data / "out" / "evaluation.html").read_text()


def test_lungs_are_judged_with_the_nodules_in_them(data):
    manifest = json.loads((data / "data" / "boxes.json").read_text())
    manifest |= {"structures": {"4": "right_lung", "3": "left_lung"}, "cases": manifest["cases"][:1]}
    (data / "data" / "boxes.json").write_text(json.dumps(manifest))
    right, left = (4, (2, 2, 2), (6, 20, 16)), (3, (14, 2, 2), (6, 20, 16))
    write_labels(data / "data" / "one-label.nii.gz", Volume(boxes(right, left), AFFINE))
    ours = boxes((1, *right[1:]), (2, *left[1:]), (3, (4, 6, 6), (3, 4, 4)))
    write_labels(data / "results" / "one" / "labels.nii.gz", Volume(ours, AFFINE))
    found = run(data)
    assert {name: values["dice"]["mean"] for name, values in found["structures"].items()} == {
        "right_lung": 1.0,
        "left_lung": 1.0,
    }
    assert found["nodules"] is None
    assert found["grades"] is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"structures": None}, "says what its label values mean"),
        ({"structures": {"1": "nodules"}}, "expected a whole number and one of right_lung, left_lung, nodule"),
        ({"structures": {"0": "nodule"}}, "expected a whole number"),
    ],
)
def test_a_manifest_that_does_not_say_what_its_values_mean_is_refused(data, changed, said):
    path = data / "data" / "boxes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(LungSegError, match="E_MANIFEST") as caught:
        run(data)
    assert said in str(caught.value)


def test_every_voxel_metric_of_two_boxes_by_hand():
    reference, prediction = np.zeros((2, 20, 10, 10), bool)
    reference[2:10, 2:6, 2:6] = True
    prediction[3:11, 2:6, 2:6] = True
    found = measure_mask(prediction, reference, (1.0, 1.0, 1.0))
    assert found["dice"] == pytest.approx(7 / 8)
    assert found["hd95_mm"] == 1.0
    assert found["nsd_1mm"] == 1.0
    assert found["volume_error"] == 0.0
    assert found["specificity"] == pytest.approx(1 - 16 / (2000 - 128))
    empty = measure_mask(np.zeros_like(reference), np.zeros_like(reference), (1, 1, 1))
    assert (empty["dice"], empty["hd95_mm"], empty["ppv"]) == (1.0, 0.0, None)
    missed = measure_mask(np.zeros_like(reference), reference, (1, 1, 1))
    assert (missed["dice"], missed["hd95_mm"], missed["nsd_2mm"]) == (0.0, None, 0.0)


def test_an_operating_point_becomes_a_settings_file_and_an_impossible_one_is_refused(data):
    arguments = ["evaluate", "-m", str(data / "data" / "boxes.json"), "--predictions", str(data / "results")]
    asked = [*arguments, "--no-pictures", "--fit-operating-point"]
    shown = CliRunner().invoke(app, [*asked, "fp=0.2", "-o", str(data / "out")])
    assert shown.exit_code == 0, shown.output
    # Hits at 0.9 and 0.8, a false one at 0.3: nothing false is allowed on three scans.
    assert "Cut at a confidence of 0.5500: 0.00" in shown.stdout
    assert json.loads((data / "out" / "settings.json").read_text())["least_confidence"] == pytest.approx(0.55)
    for wrong in ("1", "fp=", "fp=0", "tp=1", "fp=nan"):
        shown = CliRunner().invoke(app, [*arguments, "-o", str(data / "no"), "--fit-operating-point", wrong])
        assert shown.exit_code == 2
    (data / "results" / "one" / "result.json").unlink()
    with pytest.raises(UsageError, match=r"E_OPERATING_POINT.*no confidences"):
        run(data, fit_operating_point=1.0)


def test_a_fitted_operating_point_is_a_calibrated_cut_where_every_finding_is_calibrated(data):
    for name, sure in CONFIDENCE.items():
        nodules = [{"id": 1, "confidence": sure, "calibrated_confidence": sure / 2}]
        (data / "results" / name / "result.json").write_text(json.dumps({"nodules": nodules}))
    words = ["evaluate", "-m", str(data / "data" / "boxes.json"), "--predictions", str(data / "results")]
    shown = CliRunner().invoke(
        app, [*words, "--no-pictures", "-o", str(data / "out"), "--fit-operating-point", "fp=0.2"]
    )
    assert "Cut at a calibrated confidence of 0.2750: 0.00" in shown.stdout
    settings = read_settings(data / "out" / "settings.json")
    assert (settings.least_calibrated_confidence, settings.least_confidence) == (pytest.approx(0.275), 0.0)


def test_the_calibrated_confidence_is_judged_where_there_is_one(data):
    for name, sure in CONFIDENCE.items():
        nodules = [{"id": 1, "confidence": sure, "calibrated_confidence": 1.0 if name != "none" else 0.0}]
        (data / "results" / name / "result.json").write_text(json.dumps({"nodules": nodules}))
    found = run(data)["calibration"]
    assert (found["of"], found["ece"]) == ("calibrated_confidence", 0)


def patients_with_nodules(data: Path, patients: int, nodules: int, missed: int = 0) -> None:
    """A manifest of one case a patient, each with nodules of 4 x 4 x 4 voxels; the predictions miss some patients'."""
    cases = []
    for n in range(patients):
        label = boxes(*((1, (2 + 8 * (i % 2), 2 + 8 * (i // 2), 4), (4, 4, 4)) for i in range(nodules)))
        write_volume(data / "data" / f"n{n}.nii.gz", Volume(np.where(label, 30, -850).astype(np.int16), AFFINE))
        write_labels(data / "data" / f"n{n}-label.nii.gz", Volume(label, AFFINE))
        (data / "flat").mkdir(exist_ok=True)
        write_labels(data / "flat" / f"n{n}.nii.gz", Volume(label * np.uint8(n >= missed), AFFINE))
        files = {"image": f"n{n}.nii.gz", "label": f"n{n}-label.nii.gz"}
        cases.append({"case_id": f"n{n}", "patient": f"p{n}", "files": files})
    content = {"name": "nodules", "source": "the test", "structures": {"1": "nodule"}, "cases": cases}
    (data / "data" / "nodules.json").write_text(json.dumps(content))


def evaluated(data: Path, **options) -> dict:
    chosen = EvaluateOptions(pictures=False, **options)
    return dict(evaluate(data / "data" / "nodules.json", data / "flat", data / "out", chosen).content)


def test_seven_of_seven_found_is_59_to_100_percent_and_only_the_band_of_its_lower_end_is_reached(data):
    patients_with_nodules(data, 7, 1)
    found = evaluated(data)
    assert found["nodules"]["all"]["detection"] == {"mean": 1.0, "low": 0.590384, "high": 1.0, "n": 7}
    bands = {band["metric"]: (band["reached"], band["possible"]) for band in found["bands"]}
    assert bands["detection"] == bands["dice"] == ("moderate", "excellent")
    assert bands["hd95_mm"] == (None, None)  # 0 mm in all of them: nothing is said of other patients
    grades = {grade["use"]: grade["verdict"] for grade in found["grades"]}
    assert grades["detection"] == "open"  # 0.95 is asked for


def test_many_nodules_of_few_patients_have_neither_interval_nor_p(data):
    patients_with_nodules(data, 3, 4, missed=1)
    other = data / "other"
    other.mkdir()
    for n in range(3):
        write_labels(other / f"n{n}.nii.gz", Volume(boxes((1, (2, 2, 4), (4, 4, 4))), AFFINE))
    found = evaluated(data, against=other)
    assert found["nodules"]["all"]["detection"]["low"] is None
    against = found["comparison"]
    assert (against["patients"], against["nodule_dice"]["n"], against["nodule_dice"]["patients"]) == (3, 12, 3)
    assert against["nodule_dice"]["p"] is against["nodule_dice"]["low"] is None
    assert against["structures"]["nodule"]["dice"]["p"] is None


def test_missed_cases_are_told_inside_and_outside_of_the_means_with_the_n_of_each(data):
    patients_with_nodules(data, 8, 1, missed=2)
    found = evaluated(data)
    assert found["structures"]["nodule"]["dice"]["mean"] == 0.75
    assert found["structures"]["nodule"]["dice"]["n"] == 8
    of_found = found["of_found"]["nodule"]
    assert (of_found["wanted"], of_found["missed"], of_found["empty"]) == (8, 2, 0)
    assert (of_found["dice"]["mean"], of_found["dice"]["n"]) == (1.0, 6)
    page = (data / "out" / "evaluation.html").read_text()
    assert "Missed cases inside and outside of the means" in page
    assert "HD100 mm" in page
    words = ["evaluate", "-m", str(data / "data" / "nodules.json"), "--predictions", str(data / "flat")]
    shown = CliRunner().invoke(app, [*words, "--no-pictures", "--out", str(data / "again")], env={"COLUMNS": "200"})
    assert "2 of 8" in shown.output
    assert "1.000, n=6" in shown.output
