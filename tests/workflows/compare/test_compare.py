"""`compare`: what it refuses before any work, how it measures, and one whole small comparison through the program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import BundleError, LungSegError, OutputError, UsageError
from lungseg3d.io.storage import files
from lungseg3d.workflows.compare import run as module
from lungseg3d.workflows.compare.plan import plan_comparison, structures_of
from lungseg3d.workflows.compare.run import compare
from tests.support import small_data
from tests.support.small_data import BUNDLES, crops_overrides, small_comparison
from tests.support.tables import read_table

NODULES, LUNGS = BUNDLES / small_data.NODULES, BUNDLES / small_data.LUNGS


def test_a_plan_names_every_network_fold_and_seed_and_trains_by_the_command_of_train(crops, tmp_path):
    plan = plan_comparison(small_comparison(crops, seeds=(3, 4)), tmp_path)
    assert [member.name for member in plan.members][:3] == [
        "light_unet-fold-0-seed-3",
        "light_unet-fold-0-seed-4",
        "light_unet-fold-1-seed-3",
    ]
    assert len(plan.members) == 8
    words = plan.members[2].command
    assert words[:4] == (sys.executable, "-m", "monai.bundle", "run")
    found = {
        key: words[words.index(key) + 1] for key in ("--fold", "--seed", "--epochs", "--output_dir", "--cache_dir")
    }
    assert found["--fold"] == "1"
    assert found["--seed"] == "3"
    assert found["--output_dir"] == str(plan.members[2].folder)
    assert found["--cache_dir"] == str(tmp_path / "cache")
    assert words[words.index("--parent_run") + 1].startswith(tmp_path.name)
    assert plan.structures == ("nodule",)
    assert plan.members[2].settings["cases"] == ["crop-1", "crop-3"]


def test_a_hostile_bundle_is_refused_before_anything_is_trained(crops, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(NODULES, tmp_path / "b")
    overlay = tmp_path / "b" / "configs" / "networks" / "se_unet.json"
    overlay.write_text(json.dumps({"network_def": f"$__import__('os').system('touch {tmp_path}/owned')"}))
    for config in ("networks/se_unet", "train"):
        with pytest.raises(BundleError, match="E_UNTRUSTED_CONFIG") as caught:
            plan_comparison(small_comparison(crops, bundle=tmp_path / "b"), tmp_path / "out")
        assert f"{config}.json" in caught.value.message
        shutil.copy(NODULES / "configs" / "networks" / "se_unet.json", overlay)
        train = json.loads((tmp_path / "b" / "configs" / "train.json").read_text())
        content = train | {"initialize": [f"$open('{tmp_path}/owned', 'w')"]}
        (tmp_path / "b" / "configs" / "train.json").write_text(json.dumps(content))
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "out").exists()


def test_hostile_weights_to_start_from_are_refused_before_anything_is_trained(crops, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    overrides = {**crops_overrides(crops), "pretrained": str(tmp_path / "w.pt")}
    with pytest.raises(BundleError, match="E_UNSAFE_CHECKPOINT"):
        plan_comparison(small_comparison(crops, overrides=overrides), tmp_path / "out")


def test_other_settings_are_another_folder_and_the_same_ones_the_same(crops, tmp_path):
    folders = [
        {member.folder for member in plan_comparison(small_comparison(crops, **changed), tmp_path).members}
        for changed in ({}, {}, {"overrides": {**crops_overrides(crops), "epochs": "2"}}, {"weights": "best"})
    ]
    assert folders[0] == folders[1]
    assert not folders[0] & folders[2]
    assert not folders[0] & folders[3]


def test_a_changed_image_or_label_is_another_training_though_the_manifest_has_no_checksums(crops, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(crops, data)
    first = plan_comparison(small_comparison(data), tmp_path).members[0].folder
    for name, other in (("label-1", "label-0"), ("image-2", "image-3")):
        before = plan_comparison(small_comparison(data), tmp_path).members[0].folder
        shutil.copy(data / f"{other}.nii.gz", data / f"{name}.nii.gz")
        assert plan_comparison(small_comparison(data), tmp_path).members[0].folder != before
    for name in ("label-1", "image-2"):
        shutil.copy(crops / f"{name}.nii.gz", data / f"{name}.nii.gz")
    assert plan_comparison(small_comparison(data), tmp_path).members[0].folder == first


def test_a_changed_manifest_is_another_training(crops, tmp_path):
    content = json.loads((crops / "crops.json").read_text())
    content["cases"][0]["sha256"] = {"image": "0" * 64}
    (tmp_path / "crops.json").write_text(json.dumps(content))
    plans = []
    for changed in (False, True, False):
        text = (tmp_path / "crops.json" if changed else crops / "crops.json").read_text()
        (tmp_path / "used.json").write_text(text)
        asked = {**crops_overrides(crops), "nodule_manifest": str(tmp_path / "used.json")}
        plans.append(plan_comparison(small_comparison(crops, overrides=asked), tmp_path).members[0].folder)
    assert plans[0] == plans[2] != plans[1]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"networks": ("light_unet", "se_unett")}, "Did you mean se_unet?"),
        ({"training": "polly"}, "Did you mean poly?"),
        ({"folds": (0, 7)}, "fold 7 holds out no case"),
        ({"bundle": LUNGS, "folds": (0,), "overrides": {}}, "lung_ct_segmentation has no folds"),
        ({"overrides": {"epoch": "3"}}, "Did you mean epochs?"),
        ({"overrides": {"train::samplr::seed": "3"}}, "Did you mean train::sampler?"),
        ({"overrides": {"fold": "3"}}, "Use --folds."),
        ({"overrides": {"output_dir": "x"}}, "Use --out."),
    ],
)
def test_what_the_bundle_does_not_have_is_refused_before_any_work(crops, tmp_path, changed, said):
    with pytest.raises(UsageError) as caught:
        plan_comparison(small_comparison(crops, **changed), tmp_path / "out")
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_data_are_said_before_any_work(crops, tmp_path):
    with pytest.raises(LungSegError, match="E_MISSING_DATA"):
        plan_comparison(
            small_comparison(crops, overrides={**crops_overrides(crops), "nodule_dir": str(tmp_path)}), tmp_path
        )


def test_both_bundles_name_what_they_segment():
    found = [json.loads((bundle / "configs" / "metadata.json").read_text()) for bundle in (NODULES, LUNGS)]
    assert [structures_of(metadata) for metadata in found] == [("nodule",), ("right lung", "left lung")]


def test_two_comparisons_do_not_write_to_one_folder(crops, tmp_path):
    with module._hold(tmp_path), pytest.raises(LungSegError, match="E_IN_USE"):
        compare(small_comparison(crops), tmp_path)
    with module._hold(tmp_path) as held:  # given back, and taken anew
        assert len(held) == 1


def test_a_folder_without_locks_is_said_and_held_by_nobody(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "fcntl", None)
    with module._hold(tmp_path) as first, module._hold(tmp_path) as second:
        assert first == second == ()
    assert "W_NO_LOCKS" in caplog.text


def test_a_folder_where_no_lock_can_be_made_is_said_as_such(tmp_path):
    with pytest.raises(OutputError, match="E_WRITE"), module._hold(tmp_path / "absent"):
        pass


def result(member, dice: float) -> dict:
    """A record of a member as measuring leaves it."""
    values = {"dice": dice, "iou": dice, "sensitivity": dice, "ppv": dice, "hd95_mm": 1.0}
    values |= {"reference_mm3": 500.0, "predicted_mm3": 400.0}
    cases = [{"case_id": c, "inference_s": 0.5, "structures": {"nodule": values}} for c in member.settings["cases"]]
    base = {"network": member.network, "fold": member.fold, "seed": member.seed, "folder": member.folder.name}
    return base | {"status": "done", "device": "CPU", "parameters": 10**6, "gflop": 5.0, "cases": cases}


def failure(member) -> dict:
    base = {"network": member.network, "fold": member.fold, "seed": member.seed, "folder": member.folder.name}
    return base | {"status": "failed", "reason": "training: exit code 5"}


@pytest.mark.parametrize(("bad", "code"), [((), 0), (("se_unet",), 8), (("se_unet", "light_unet"), 3)])
def test_the_exit_code_says_whether_all_some_or_none_are_done(crops, tmp_path, monkeypatch, bad, code):
    def run(plan, *_):
        return [failure(m) if m.network in bad else result(m, 0.5 + 0.1 * m.fold) for m in plan.members]

    monkeypatch.setattr(module, "run_members", run)
    monkeypatch.setattr(module, "open_parent", lambda *_: None)
    monkeypatch.setattr(module, "track_comparison", lambda *_: None)
    asked = [word for key, value in crops_overrides(crops).items() for word in ("--set", f"{key}={value}")]
    words = ["compare", str(NODULES), "--networks", "light_unet,se_unet", "--folds", "0-1", "--out", str(tmp_path)]
    ran = CliRunner().invoke(app, words + asked)
    assert ran.exit_code == code, ran.output
    assert {path.name for path in tmp_path.iterdir()} >= {"compare.csv", "cases.csv", "compare.json", "compare.html"}
    content = json.loads((tmp_path / "compare.json").read_text())
    assert str(crops) not in (tmp_path / "compare.json").read_text() + (tmp_path / "compare.html").read_text()
    means = {row["network"]: row["dice"]["mean"] for row in content["networks"]}
    assert means == {name: None if name in bad else pytest.approx(0.55) for name in ("light_unet", "se_unet")}
    assert ("exit code 5" in ran.output) == bool(bad)


def test_members_of_a_joined_comparison_are_not_done_again(crops, tmp_path, monkeypatch):
    done = []

    def run(plan, *_):
        done.append([member.name for member in plan.members])
        return [result(member, 0.5 + 0.1 * member.fold) for member in plan.members]

    monkeypatch.setattr(module, "run_members", run)
    monkeypatch.setattr(module, "open_parent", lambda *_: None)
    monkeypatch.setattr(module, "track_comparison", lambda *_: None)
    compare(small_comparison(crops, folds=(0,)), tmp_path / "earlier")
    joined = compare(small_comparison(crops, folds=(0, 1)), tmp_path / "all", join=[tmp_path / "earlier"])
    assert done[1] == [name.replace("fold-0", "fold-1") for name in done[0]]
    at_once = compare(small_comparison(crops, folds=(0, 1)), tmp_path / "at-once")
    assert joined.content["networks"] == at_once.content["networks"]
    assert (tmp_path / "all" / "cases.csv").read_text() == (tmp_path / "at-once" / "cases.csv").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--networks", "a", "--folds", "4-0"], "no range"),
        (["--networks", "a", "--seeds", "one"], "no number"),
        (["--networks", ","], "one network or more"),
        (["--networks", "a", "--set", "epochs"], "KEY::PATH=VALUE"),
        (["--networks", "a", "--weights", "last"], "neither model nor best"),
        (["--networks", "light_une"], "Did you mean light_unet?"),
        (["--networks", "a", "--jobs", "0"], "jobs"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(tmp_path, words, said):
    ran = CliRunner().invoke(
        app, ["compare", str(NODULES), "--out", str(tmp_path / "out"), *words], env={"COLUMNS": "200"}
    )
    assert ran.exit_code == 2
    assert said in " ".join(ran.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_small_networks_are_trained_measured_compared_and_not_done_again(crops, tmp_path):
    asked = [word for key, value in crops_overrides(crops).items() for word in ("--set", f"{key}={value}")]
    del asked[asked.index("network_def::channels=[4, 8]") - 1 : asked.index("network_def::channels=[4, 8]") + 1]
    program = "from lungseg3d.cli import main; main()"
    words = [sys.executable, "-c", program, "compare", str(NODULES), "--networks", "light_unet,se_unet", "--folds", "1"]
    words += ["--out", str(tmp_path), *asked]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = read_table(tmp_path / "cases.csv")
    assert [(row["network"], row["case_id"]) for row in rows] == [
        (network, case_id) for network in ("light_unet", "se_unet") for case_id in ("crop-1", "crop-3")
    ]
    for folder in (tmp_path / "members").iterdir():
        # The training's own validation of the last epoch saw the same cases with the same weights.
        own = [line for line in (folder / "train.log").read_text().splitlines() if "val_mean_dice: " in line][-1]
        record = json.loads((folder / "member.json").read_text())
        measured = np.mean([case["structures"]["nodule"]["dice"] for case in record["cases"]])
        assert measured == pytest.approx(float(own.split("val_mean_dice: ")[1].split()[0]), abs=2e-4)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlruns.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert {path.path for path in client.list_artifacts(parents[0].info.run_id)} >= {"compare.html", "compare.csv"}
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert sorted(run.info.run_name.rpartition("-")[0] for run in children) == [
        "light_unet-fold-1-seed-0",
        "se_unet-fold-1-seed-0",
    ]
    assert all("held_out/dice/nodule" in run.data.metrics for run in children)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "members").glob("*/*.pt")}
    again = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert again.returncode == 0
    assert again.stderr.count("done before") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
