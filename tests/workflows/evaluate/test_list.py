"""`evaluate` of results with a list and candidates: the same numbers as before, and what the list is worth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import Volume
from lungseg3d.core.labels import NODULE
from lungseg3d.inference import rule_sha256_of
from lungseg3d.inference.listing.calibration_file import CALIBRATION, calibration_text
from lungseg3d.io import read_labels, sha256_of, write_labels, write_volume
from lungseg3d.metrics import ConfidenceMap
from lungseg3d.workflows.calibrate import _read as read_evaluations
from lungseg3d.workflows.evaluate.run import EvaluateOptions, evaluate
from tests.support.schema_cases import as_schema_2
from tests.support.tables import read_table

AFFINE = np.diag([2.0, 1.0, 1.0, 1.0])
SHAPE = (32, 32, 20)
SPOTS = [(2, 2, 4), (12, 2, 4), (2, 16, 4), (12, 16, 4)]
PATIENTS = 7
# Of each scan: number of the finding -> place, confidence, kind. The reference has the nodules of places 0 and 1.
FINDINGS = {1: (2, 0.45, "solid"), 2: (0, 0.9, "solid"), 3: (3, 0.2, "solid"), 4: (1, 0.3, "ground-glass")}
CANDIDATES = {1: "below-point", 3: "outside-lungs"}


def spots(*values: tuple[int, int], size=(4, 8, 8)) -> np.ndarray:
    """(place, value) of each box."""
    found = np.zeros(SHAPE, np.uint16)
    for place, value in values:
        found[tuple(slice(a, a + n) for a, n in zip(SPOTS[place], size, strict=True))] = value
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Seven scans with lungs: everything was found in all of them, with two false findings each."""
    root = tmp_path_factory.mktemp("lists")
    (root / "data").mkdir()
    lungs = np.ones(SHAPE, np.uint8)
    lungs[16:] = 2
    cases = []
    for n in range(PATIENTS):
        nodules = spots((0, 1), (1, 1))
        write_volume(root / "data" / f"c{n}.nii.gz", Volume(np.where(nodules, 30, -850).astype(np.int16), AFFINE))
        labels = np.where(nodules, 3, lungs).astype(np.uint8)
        write_labels(root / "data" / f"c{n}-label.nii.gz", Volume(labels, AFFINE))
        files = {"image": f"c{n}.nii.gz", "label": f"c{n}-label.nii.gz"}
        cases.append({"case_id": f"c{n}", "patient": f"p{n}", "files": files})
        folder = root / "one" / f"c{n}"
        folder.mkdir(parents=True)
        found = spots(*((place, number) for number, (place, _, _) in FINDINGS.items()), size=(4, 8, 6 + n % 3))
        write_labels(folder / "nodules.nii.gz", Volume(found, AFFINE))
        write_labels(folder / "labels.nii.gz", Volume(np.where(found, 3, lungs).astype(np.uint8), AFFINE))
        rows = [
            {"id": i, "confidence": sure, "calibrated_confidence": sure * (1 - n / 20), "kind": kind}
            for i, (_, sure, kind) in FINDINGS.items()
        ]
        record = {"schema_version": 1, "case_id": f"c{n}", "status": "done", "nodules": rows}
        (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")
    shutil.copytree(root / "one", root / "two")
    for folder in (root / "two").iterdir():
        as_schema_2(folder, CANDIDATES)
    structures = {"1": "right_lung", "2": "left_lung", "3": "nodule"}
    content = {"name": "lists", "source": "the test", "structures": structures, "cases": cases}
    (root / "data" / "lists.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def evaluated(made: Path, results: Path, out: Path, **options) -> dict:
    options = {"pictures": False, **options}
    done = evaluate(made / "data" / "lists.json", results, out, EvaluateOptions(**options))
    return json.loads(json.dumps(done.content))


def test_one_result_in_both_schemas_has_the_same_numbers_to_the_digit_but_for_the_list(made, tmp_path):
    before, now = (evaluated(made, made / name, tmp_path / name) for name in ("one", "two"))
    assert before["nodules"]["all"]["marks"] == 4 * PATIENTS
    assert before["froc"]["cpm"] > 0
    assert (before["list"]["listed"], now["list"]["listed"]) == (4 * PATIENTS, 2 * PATIENTS)
    left_out = ("list", "predictions")
    assert {k: v for k, v in before.items() if k not in left_out} == {k: v for k, v in now.items() if k not in left_out}
    assert (tmp_path / "one" / "cases.csv").read_bytes() == (tmp_path / "two" / "cases.csv").read_bytes()


def test_the_list_has_its_own_sensitivity_and_false_findings_with_intervals_over_patients(made, tmp_path):
    found = evaluated(made, made / "two", tmp_path)["list"]
    assert (found["true"], found["false"], found["nodules"]) == (14, 0, 14)
    assert (found["candidates"], found["nodules_among_candidates"]) == (14, 0)
    assert found["sensitivity"] == {"mean": 1.0, "low": 0.590384, "high": 1.0, "n": 14}
    assert found["false_findings_a_scan"]["mean"] == 0
    assert found["listed_a_scan"] == {"mean": 2.0, "low": None, "high": None, "n": 7}
    assert [(point["name"], point["cases"]) for point in found["points"]] == [("default", 7)]
    everything = evaluated(made, made / "one", tmp_path / "one")["list"]
    assert (everything["false"], everything["false_findings_a_scan"]["mean"]) == (14, 2.0)
    assert everything["points"] == [{"name": "", "cases": 7}]


def test_page_table_and_command_say_first_what_the_list_is_worth(made, tmp_path):
    words = ["evaluate", "-m", str(made / "data" / "lists.json"), "--predictions", str(made / "two")]
    ran = CliRunner().invoke(app, [*words, "--no-pictures", "--out", str(tmp_path)], env={"COLUMNS": "200"})
    assert ran.exit_code == 0, ran.output
    said = " ".join(ran.stdout.split())
    assert said.startswith(
        "The list (default (0.50 solid, 0.50 part-solid, 0.25 ground-glass)): 14 findings in 7 scans"
    )
    assert "14 of 14 nodules listed, sensitivity 1.000 (0.590-1.000); 0.00 false findings a scan" in said
    page = " ".join((tmp_path / "evaluation.html").read_text(encoding="utf-8").split())
    first, second = page.index("The list that a reader gets"), page.index("Everything that was found, listed or not")
    assert first < second < page.index('id="voxels"')
    rows = read_table(tmp_path / "nodules.csv")
    told = {(row["outcome"], row["is_listed"], row["reason"]) for row in rows}
    assert told == {("found", "True", ""), ("false", "False", "below-point"), ("false", "False", "outside-lungs")}


def test_results_of_both_schemas_in_one_folder_are_evaluated_and_the_mix_is_said(made, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(made / "two", mixed)
    for n in range(2):
        shutil.rmtree(mixed / f"c{n}")
        shutil.copytree(made / "one" / f"c{n}", mixed / f"c{n}")
    as_schema_2(mixed / "c1", {}, {"name": "sensitive", "least_confidence": {"solid": 0.1}})
    found = evaluated(made, mixed, tmp_path / "out")
    (warning,) = found["warnings"]
    assert warning["code"] == "W_MIXED_LISTS"
    counted = "everything that was found in 1, sensitive (0.10 solid) in 1, default (0.50 solid, 0.50 part-solid, 0.25"
    assert counted in warning["message"]
    assert found["nodules"] == evaluated(made, made / "one", tmp_path / "one")["nodules"]
    assert found["list"]["listed"] == 5 * 2 + 2 * 4


def test_candidates_without_their_map_cost_that_case_alone_with_the_reason(made, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(made / "two", broken)
    (broken / "c0" / "candidates.nii.gz").unlink()
    twice = read_labels(broken / "c1" / "candidates.nii.gz")
    write_labels(broken / "c1" / "candidates.nii.gz", twice.with_array((twice.array > 0).astype(np.uint16)))
    found = evaluated(made, broken, tmp_path / "out")
    assert found["evaluated"] == PATIENTS - 2
    assert [failure["code"] for failure in found["failed"]] == ["E_NOT_A_RESULT"] * 2
    assert "c0: result.json has 2 candidates, and candidates.nii.gz is missing" in found["failed"][0]["message"]
    assert "c1: number 1 is in nodules.nii.gz and in candidates.nii.gz" in found["failed"][1]["message"]


def test_an_unreadable_record_costs_the_confidences_and_its_candidates_stay_unlisted(made, tmp_path):
    torn = tmp_path / "torn"
    shutil.copytree(made / "two", torn)
    (torn / "c0" / "result.json").write_text("{")
    found = evaluated(made, torn, tmp_path / "out")
    assert (found["evaluated"], found["nodules"]["all"]["marks"]) == (PATIENTS, 4 * PATIENTS)
    assert (found["list"]["listed"], found["froc"]) == (2 * PATIENTS, None)


def test_calibration_takes_the_findings_of_both_schemas_alike(made, tmp_path):
    both = []
    for name in ("one", "two"):
        evaluated(made, made / name, tmp_path / name)
        read = read_evaluations([tmp_path / name])
        both.append(sorted(zip(read.patients, read.confidence.tolist(), read.is_true.tolist(), strict=True)))
    assert len(both[0]) == 4 * PATIENTS
    assert both[0] == both[1]


def test_the_masks_of_the_test_are_as_segment_writes_them(made):
    folder = made / "two" / "c0"
    labels, nodules, candidates = (read_labels(folder / f"{n}.nii.gz") for n in ("labels", "nodules", "candidates"))
    assert np.array_equal(labels.array == NODULE.value, nodules.array > 0)
    assert np.unique(candidates.array).tolist() == [0, 3, 4]
    assert set(np.unique(labels.array[candidates.array > 0])) <= {1, 2}


def point_bundle(root: Path, weights: bytes = b"weights") -> Path:
    """A bundle with a calibration that halves confidences, and points from 0.22 (default) and 0.05 (sensitive) on."""
    for name in ("configs", "models"):
        (root / name).mkdir(parents=True)
    (root / "models" / "model.pt").write_bytes(weights)
    (root / "configs" / "inference.json").write_text("{}")
    sums = {"weights_sha256": sha256_of(root / "models" / "model.pt"), "rule_sha256": rule_sha256_of(root)}
    (root / CALIBRATION).write_text(calibration_text(ConfidenceMap((0.0, 1.0), (0.0, 0.5)), **sums))
    least = {"default": {"solid": 0.22, "ground-glass": 0.16}, "sensitive": {"solid": 0.05, "ground-glass": 0.05}}
    measured = {"false_findings_a_scan": {"value": 1.0}, "sensitivity": {"value": 0.8}}
    points = {name: {"least_confidence": cuts, **measured} for name, cuts in least.items()}
    curve = {"asked_false_findings_a_scan": [0.5, 1.0], "false_findings_a_scan": [0.5, 1.0], "sensitivity": [0.6, 0.8]}
    curve["least_confidence"] = {kind: [0.4, cut] for kind, cut in least["default"].items()}
    content = {"schema_version": 1, **sums, "population": {"text": "made up"}, "points": points, "curve": curve}
    (root / "configs" / "operating_points.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def pointed(made, tmp_path) -> tuple[Path, Path]:
    """A bundle with points, and results of its weights in both schemas."""
    bundle = point_bundle(tmp_path / "bundle")
    about = {"nodules": {"name": "b", "weights_sha256": sha256_of(bundle / "models" / "model.pt")}}
    for name in ("one", "two"):
        shutil.copytree(made / name, tmp_path / name)
        for path in (tmp_path / name).glob("*/result.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"provenance": {"bundles": about}}))
    return bundle, tmp_path


def test_an_operating_point_lists_findings_anew_and_what_anatomy_speaks_against_stays_a_candidate(made, pointed):
    bundle, root = pointed
    # Halved: nodules 0.45 and (ground glass) 0.15, false ones 0.225 and, outside the lungs in schema 2, 0.1.
    for name, results, listed, true in (
        ("default", "two", 2, 1),
        ("sensitive", "two", 3, 2),
        ("fp=0.5", "two", 1, 1),
        ("sensitive", "one", 4, 2),
    ):
        out = root / f"{name}-{results}"
        found = evaluated(made, root / results, out, operating_point=name, bundle=bundle)
        assert [(point["name"], point["cases"]) for point in found["list"]["points"]] == [(name, PATIENTS)]
        assert (found["list"]["listed"], found["list"]["true"]) == (listed * PATIENTS, true * PATIENTS)
        assert found["nodules"]["all"]["marks"] == 4 * PATIENTS
    rows = read_table(root / "sensitive-two" / "nodules.csv")
    assert {row["reason"] for row in rows if row["is_listed"] == "False"} == {"outside-lungs"}


@pytest.mark.parametrize("damage", ["weights", "points", "label map", "no confidence"])
def test_results_that_cannot_be_listed_at_a_point_are_refused_before_anything_is_written(made, pointed, damage):
    bundle, root = pointed
    results = root / "two"
    if damage == "weights":
        (bundle / "models" / "model.pt").write_bytes(b"other")
    elif damage == "points":
        (bundle / "configs" / "operating_points.json").unlink()
    elif damage == "label map":
        shutil.copy(results / "c0" / "labels.nii.gz", results / "c0.nii.gz")
        shutil.rmtree(results / "c0")
    else:
        path = results / "c0" / "result.json"
        path.write_text(path.read_text().replace('"confidence": 0.9', '"confidence": null'))
    words = ["evaluate", "-m", made / "data" / "lists.json", "--predictions", results, "--nodule-bundle", bundle]
    ran = CliRunner().invoke(app, [*map(str, words), "--out", str(root / "out"), "--operating-point", "default"])
    said = " ".join(ran.output.split())
    assert (ran.exit_code, "E_OPERATING_POINT" in said) == (2, True), ran.output
    assert {
        "weights": "c0: it was made by weights",
        "points": "has no measured operating point",
        "label map": "c0: the prediction does not say by which weights",
        "no confidence": "c0: finding 1 has no confidence",
    }[damage] in said
    assert not (root / "out" / "summary.json").exists()


def test_another_word_than_a_point_is_wrong_usage(made, tmp_path):
    words = ["evaluate", "-m", made / "data" / "lists.json", "--predictions", made / "two", "--out", tmp_path / "out"]
    for wrong in ("all", "fp=", "fp=0", "fp=x"):
        ran = CliRunner().invoke(app, [*map(str, words), "--operating-point", wrong])
        assert (ran.exit_code, "E_BAD_OPTION" in ran.output) == (2, True)
