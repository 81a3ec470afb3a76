"""`train`: the command line it runs, and one epoch of every bundle on a tiny data set."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import BundleError, LungSegError, OutputError, UsageError
from lungseg3d.data import read_manifest
from lungseg3d.workflows.train import checks as training_checks
from lungseg3d.workflows.train import run as module
from lungseg3d.workflows.train.bundle import write_trained_bundle
from lungseg3d.workflows.train.checks import seen_in_training, training_configuration
from lungseg3d.workflows.train.run import train, train_command
from tests.support.small_data import BUNDLES, LUNGS, NAMES, NODULES, overrides_for, small_data


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    configs = tmp_path / "my bundle" / "configs"
    for overlay in ("train", "networks/se_unet", "networks/light_unet", "training/long"):
        (configs / f"{overlay}.json").parent.mkdir(parents=True, exist_ok=True)
        (configs / f"{overlay}.json").write_text("{}")
    return configs.parent


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_the_plain_command_names_bundle_configuration_and_output(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = train_command("my bundle")
    assert words[:4] == [sys.executable, "-m", "monai.bundle", "run"]
    assert after(words, "--bundle_root") == str(bundle)
    assert after(words, "--config_file") == f"['{bundle}/configs/train.json']"
    assert after(words, "--meta_file") == f"{bundle}/configs/metadata.json"
    assert after(words, "--output_dir") == str(tmp_path / "runs" / "my bundle")
    assert len(words) == 12


def test_overlays_follow_the_configuration_and_overrides_the_overlays(bundle, tmp_path):
    words = train_command(
        bundle,
        network="se_unet",
        training="long",
        fold=0,
        overrides={"epochs": "3", "train::sampler::seed": "7"},
        out=tmp_path / "out",
    )
    configs = bundle / "configs"
    files = [configs / "train.json", configs / "networks" / "se_unet.json", configs / "training" / "long.json"]
    assert after(words, "--config_file") == "[" + ",".join(f"'{file}'" for file in files) + "]"
    assert after(words, "--output_dir") == str(tmp_path / "out")
    assert words[-6:] == ["--fold", "0", "--epochs", "3", "--train::sampler::seed", "7"]


@pytest.mark.parametrize(
    ("choice", "hint"),
    [
        ({"network": "se_unett"}, "Did you mean se_unet?"),
        ({"network": "zzz"}, "There are: light_unet, se_unet."),
        ({"training": "lang"}, "Did you mean long?"),
    ],
)
def test_an_unknown_overlay_is_refused_with_the_nearest_name(bundle, choice, hint):
    with pytest.raises(UsageError, match="E_NO_OVERLAY") as caught:
        train_command(bundle, **choice)
    assert hint in str(caught.value)


def test_no_overlay_of_a_kind_is_said(bundle):
    shutil.rmtree(bundle / "configs" / "training")
    with pytest.raises(UsageError, match="There are: none"):
        train_command(bundle, training="long")


def test_a_folder_without_a_training_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="E_NO_BUNDLE"):
        train_command(tmp_path)


@pytest.mark.parametrize("code", [0, 3])
def test_training_prints_the_equal_line_and_passes_the_exit_code_on(code, tmp_path, monkeypatch, capsys):
    given = []

    def run(task, environment, lock):
        given.append(json.loads(task))
        assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
        (Path(given[0]["out"]) / "model.pt").write_bytes(b"weights")
        return code

    bundle = tmp_path / NODULES
    shutil.copytree(BUNDLES / NODULES, bundle)
    monkeypatch.setattr(module, "run_training", run)
    monkeypatch.setattr(training_checks, "check_training", lambda configuration, root: None)
    overrides = {"network_def::channels": "[4, 8]", "spacing_mm": "1.5"}
    out = tmp_path / "a" / "b"
    assert train(bundle, fold=2, overrides=overrides, out=out) == code
    line, *rest = capsys.readouterr().out.strip().splitlines()
    assert rest == ([f"Wrote {out / 'bundle'}"] if code == 0 else [])
    assert shlex.split(line) == ["python", *train_command(bundle, fold=2, overrides=overrides, out=out)[1:]]
    assert given[0]["configs"] == [json.loads((bundle / "configs" / "train.json").read_text())]
    assert (given[0]["fold"], given[0]["overrides"], given[0]["trust_bundle"]) == (2, overrides, False)
    assert (out / "bundle").exists() == (code == 0)
    if code == 0:
        inference = json.loads((out / "bundle" / "configs" / "inference.json").read_text())
        assert inference["network_def"]["channels"] == [4, 8]
        assert inference["spacing_mm"] == 1.5
        assert (out / "bundle" / "models" / "model.pt").read_bytes() == b"weights"
        card = (out / "bundle" / "docs" / "README.md").read_text()
        assert "python -m monai.bundle run --bundle_root <path> --config_file <path>" in card
        assert "--network_def::channels '[4, 8]' --spacing_mm 1.5" in card
        assert str(tmp_path) not in card
        seen = json.loads((out / "bundle" / "configs" / "training_cases.json").read_text())["datasets"]
        assert [data["name"] for data in seen] == ["nodules_luna", "lung_cts"]
        folds = {case["case_id"]: case["fold"] for case in read_manifest("nodules_luna")["cases"]}
        assert {folds[case["case_id"]] for case in seen[0]["cases"]} == {0, 1, 3, 4}


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("epoch", "Did you mean epochs?"),
        ("train::sampler::sed", "Did you mean train::sampler::seed?"),
        ("train#sampler#groups#3#share", "There are: 0, 1, 2."),
        ("network_def::dropuot", "Did you mean network_def::dropout?"),
        ("epochs::more", "There are: none."),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest(key, hint):
    with pytest.raises(UsageError, match="E_NO_KEY") as caught:
        training_configuration([BUNDLES / NODULES / "configs" / "train.json"], BUNDLES / NODULES, {key: "1"})
    assert key in str(caught.value)
    assert hint in str(caught.value)


def test_a_key_may_be_an_argument_that_the_configuration_leaves_at_its_default():
    overrides = {"network_def::dropout": "0.2", "train::sampler::groups::0::large_first": "None"}
    parser = training_configuration([BUNDLES / NODULES / "configs" / "train.json"], BUNDLES / NODULES, overrides)
    assert parser["network_def#dropout"] == 0.2
    assert parser["train#sampler#groups#0#large_first"] is None


def test_a_key_may_be_a_field_of_what_an_argument_list_was_grouped_into():
    root = BUNDLES / NODULES
    overrides = {"train::sampler::process": "[0, 1]", "train::handlers::3::pictures": "2"}
    parser = training_configuration([root / "configs" / "train.json"], root, overrides)
    assert parser["train#sampler#process"] == [0, 1]
    with pytest.raises(UsageError, match="Did you mean train::sampler::geometry"):
        training_configuration([root / "configs" / "train.json"], root, {"train::sampler::geometri": "None"})


def test_an_overlay_that_is_no_json_is_named(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(BundleError, match=r"E_CONFIGURATION: .*bad\.json"):
        training_configuration([tmp_path / "bad.json"], tmp_path, {})


def test_a_training_of_outlines_leaves_a_bundle_with_the_finding_network_as_it_was(tmp_path, monkeypatch):
    def run(task, environment, lock):
        (Path(json.loads(task)["out"]) / "model.pt").write_bytes(b"outlines")
        return 0

    monkeypatch.setattr(module, "run_training", run)
    monkeypatch.setattr(training_checks, "check_training", lambda configuration, root: None)
    overrides = {"network_def::channels": "[4, 8]"}
    assert train(BUNDLES / NODULES, training="outline", fold=2, overrides=overrides, out=tmp_path) == 0
    made, shipped = tmp_path / "bundle", BUNDLES / NODULES
    assert (made / "models" / "outline.pt").read_bytes() == b"outlines"
    assert (made / "models" / "model.pt").read_bytes() == (shipped / "models" / "model.pt").read_bytes()
    inference, before = (json.loads((root / "configs" / "inference.json").read_text()) for root in (made, shipped))
    assert inference["outline_def"]["channels"] == [4, 8]
    assert inference["network_def"] == before["network_def"]


def test_a_training_of_the_finder_leaves_a_bundle_that_finds_by_centres(tmp_path, monkeypatch):
    def run(task, environment, lock):
        (Path(json.loads(task)["out"]) / "model.pt").write_bytes(b"finder")
        return 0

    monkeypatch.setattr(module, "run_training", run)
    monkeypatch.setattr(training_checks, "check_training", lambda configuration, root: None)
    overrides = {"network_def::channels": "[4, 8]"}
    assert train(BUNDLES / NODULES, training="finder", fold=0, overrides=overrides, out=tmp_path) == 0
    made, shipped = tmp_path / "bundle", BUNDLES / NODULES
    assert (made / "models" / "model.pt").read_bytes() == b"finder"
    assert (made / "models" / "outline.pt").read_bytes() == (shipped / "models" / "outline.pt").read_bytes()
    assert not (made / "models" / "judge.pt").exists()
    assert (made / "models" / "SHA256SUMS").read_text().count("\n") == 2
    inference = json.loads((made / "configs" / "inference.json").read_text())
    steps = [step["_target_"].rpartition(".")[2] for step in inference["postprocessing"]["transforms"]]
    assert steps == ["FindCentresd", "OutlineCandidatesd", "NodulesOnSourced"]
    assert inference["network_def"]["channels"] == [4, 8]
    seen = json.loads((made / "configs" / "training_cases.json").read_text())["datasets"]
    assert "lidc-0002" not in [case["case_id"] for data in seen for case in data["cases"]]
    assert [data["name"] for data in seen] == ["nodules_luna", "chest_cts"]


@pytest.mark.parametrize("name", ["../../../private", "/etc/private", "missing", "inference.json"])
def test_the_configuration_of_a_trained_bundle_is_one_of_its_own_by_name(tmp_path, name):
    (tmp_path / "private.json").write_text('{"secret": 1}')
    root = tmp_path / "a" / "b" / "bundle"
    shutil.copytree(BUNDLES / NODULES, root)
    parser = training_configuration([root / "configs" / "train.json"], root, {})
    parser["inference"] = name
    with pytest.raises(BundleError, match="E_CONFIGURATION: inference is"):
        write_trained_bundle(root, parser, tmp_path / "model.pt", tmp_path / "made", "train")
    assert not (tmp_path / "made").exists()


def test_an_early_stop_has_seen_the_cases_that_chose_its_weights():
    files, root = [BUNDLES / NODULES / "configs" / "train.json"], BUNDLES / NODULES
    plain = training_configuration(files, root, {}, fold=2)
    assert seen_in_training(plain) == [("nodules_luna", 2), ("lung_cts", None)]
    stopped = training_configuration(files, root, {"patience": "3"}, fold=2)
    assert seen_in_training(stopped) == [("nodules_luna", None), ("lung_cts", None)]


@pytest.mark.parametrize("overlay", ["train", "training/outline", "training/judge"])
def test_further_nodules_of_a_crop_are_no_background_to_a_training(overlay, data):
    root = BUNDLES / NODULES
    files = [root / "configs" / "train.json", root / "configs" / f"{overlay}.json"]
    transforms = training_configuration(files, root, {}).get_parsed_content("nodule_transforms")
    crop = {"image": str(data / "image-0.nii.gz"), "label": str(data / "label-0.nii.gz")}
    alone = transforms(crop)["label"]
    both = transforms(crop | {"others": str(data / "label-3.nii.gz")})["label"]
    assert 0 < alone.sum() < both.sum()  # balls of 4 and 7 voxels around one centre
    assert both.sum() == transforms(crop | {"label": str(data / "label-3.nii.gz")})["label"].sum()


@pytest.mark.parametrize("name", NAMES)
def test_missing_data_are_said_before_a_training_starts(name, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_training", lambda *_: pytest.fail("a training was started"))
    with pytest.raises(LungSegError, match="E_MISSING_DATA") as caught:
        train(BUNDLES / name, overrides={"dataset_dir": str(tmp_path / "nowhere")}, out=tmp_path / "out")
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert not (tmp_path / "out").exists()


class _Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_weights_to_start_from_are_refused_before_a_training_starts(name, data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_training", lambda *_: pytest.fail("a training was started"))
    (tmp_path / "w.pt").write_bytes(pickle.dumps(_Runs(tmp_path / "owned")))
    overrides = overrides_for(name, data, tmp_path) | {"pretrained": str(tmp_path / "w.pt")}
    for trust in (False, True):  # trust is of code, not of pickles
        with pytest.raises(BundleError, match="E_UNSAFE_CHECKPOINT"):
            train(BUNDLES / name, overrides=overrides, out=tmp_path / "out", trust=trust)
    with pytest.raises(BundleError, match="E_BAD_CHECKPOINT"):
        train(BUNDLES / name, overrides=overrides | {"pretrained": str(tmp_path / "none.pt")}, out=tmp_path / "out")
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "out").exists()


def test_weights_to_start_from_must_fit_the_network(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_training", lambda *_: 7)
    weights = BUNDLES / NODULES / "models" / "model.pt"
    overrides = overrides_for(NODULES, data, tmp_path) | {"pretrained": str(weights)}
    with pytest.raises(BundleError, match=r"E_BAD_CHECKPOINT: .*does not fit .*\(4, 8, 3, 3, 3\) expected, \(32, 8"):
        train(BUNDLES / NODULES, overrides=overrides, out=tmp_path / "out")
    del overrides["network_def::channels"]
    assert train(BUNDLES / NODULES, overrides=overrides, out=tmp_path / "out") == 7


@pytest.mark.parametrize(
    ("number", "by", "has_checkpoint"),
    [(signal.SIGTERM, "SIGTERM", True), (signal.SIGINT, "Ctrl-C", False), (signal.SIGKILL, "SIGKILL", True)],
)
def test_a_training_that_is_stopped_says_the_line_that_goes_on(
    number, by, has_checkpoint, data, tmp_path, monkeypatch, capsys
):
    def run(task, environment, lock):
        if has_checkpoint:
            (Path(json.loads(task)["out"]) / "last.pt").write_bytes(b"")
        return 128 + number

    monkeypatch.setattr(module, "run_training", run)
    overrides = overrides_for(NODULES, data, tmp_path) | {"resume": "False"}
    out = tmp_path / "my out"
    assert train(BUNDLES / NODULES, fold=1, overrides=overrides, out=out, trust=True) == 128 + number
    said, line = capsys.readouterr().err.splitlines()[-2:]
    assert by in said
    assert ("after the last epoch" in said) is has_checkpoint
    words = shlex.split(line)
    assert words[:3] == ["lungseg3d", "train", str(BUNDLES / NODULES)]
    assert (after(words, "--fold"), after(words, "--out"), words[-1]) == ("1", str(out), "--trust-bundle")
    settings = {word for before, word in itertools.pairwise(words) if before == "--set"}
    assert settings == {f"{key}={value}" for key, value in overrides.items() if key != "resume"}


def test_one_training_works_in_a_folder(data, tmp_path, monkeypatch):
    overrides = overrides_for(NODULES, data, tmp_path)
    seen = []

    def run(task, environment, lock):
        with pytest.raises(OutputError, match="E_LOCKED"):
            train(BUNDLES / NODULES, overrides=overrides | {"seed": "1"}, out=tmp_path / "out")
        seen.append(task)
        return 7

    monkeypatch.setattr(module, "run_training", run)
    assert train(BUNDLES / NODULES, overrides=overrides, out=tmp_path / "out") == 7
    assert len(seen) == 1
    monkeypatch.setattr(module, "run_training", lambda *_: 7)
    assert train(BUNDLES / NODULES, overrides=overrides, out=tmp_path / "out") == 7


@pytest.mark.parametrize(("word", "python"), [("true", "True"), ("false", "False"), ("null", "None"), ("0.5", "0.5")])
def test_a_setting_may_be_written_as_the_configuration_has_it(word, python, monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(module, "train", lambda bundle, **more: given.update(more) or 0)
    words = ["train", str(tmp_path), "--set", f"resume={word}", "--set", f"a::b= {word}"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert given["overrides"] == {"resume": python, "a::b": python if python != word else f" {word}"}


def test_a_network_with_other_classes_than_the_bundle_is_refused(data, tmp_path):
    overrides = overrides_for(NODULES, data, tmp_path) | {"network_def::out_channels": "3"}
    with pytest.raises(BundleError, match=r"E_CLASS_COUNT: the network has 3 output channels.* has 2 classes"):
        train(BUNDLES / NODULES, overrides=overrides, out=tmp_path / "out")
    overrides = overrides_for(NODULES, data, tmp_path) | {"network_def::network::out_channels": "4"}
    del overrides["network_def::channels"]
    with pytest.raises(BundleError, match="E_CLASS_COUNT"):
        train(BUNDLES / NODULES, network="swin_unetr", overrides=overrides, out=tmp_path / "out")


def test_a_fold_that_holds_out_nothing_or_that_the_bundle_has_not_is_refused(data, tmp_path):
    overrides = overrides_for(NODULES, data, tmp_path)
    with pytest.raises(UsageError, match="E_NO_FOLD: fold 7 holds out no case"):
        train(BUNDLES / NODULES, fold=7, overrides=overrides, out=tmp_path / "out")
    overrides = overrides_for(LUNGS, data, tmp_path)
    with pytest.raises(UsageError, match="E_NO_FOLD: lung_ct_segmentation has no folds"):
        train(BUNDLES / LUNGS, fold=0, overrides=overrides, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_training_without_weights_or_a_bundle_without_inference_leaves_no_bundle(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_training", lambda *_: 0)
    assert train(BUNDLES / NODULES, overrides=overrides_for(NODULES, data, tmp_path), out=tmp_path / "out") == 0
    assert not (tmp_path / "out" / "bundle").exists()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_one_epoch_of_every_bundle_leaves_weights_that_fit_its_network(name, data, tmp_path):
    import torch

    from lungseg3d.networks import LightUNet3d

    overrides = overrides_for(name, data, tmp_path / "cache")
    fold = 1 if "nodule" in name else None
    words = train_command(BUNDLES / name, fold=fold, overrides=overrides, out=tmp_path / "run")
    (tmp_path / "run").mkdir()
    ran = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"model.pt", "best.pt", "last.pt", "mlruns.db"} <= files
    state = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    classes = 3 if name == "lung_ct_segmentation" else 2
    LightUNet3d(out_channels=classes, channels=(4, 8)).load_state_dict(state.get("model", state), strict=True)
    assert all(torch.isfinite(value).all() for value in state.values())
    assert "val_mean_dice" in ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_not_a_number_ends_the_program_with_5_and_names_the_batch(name, data, tmp_path, capfd):
    overrides = overrides_for(name, data, tmp_path / "cache") | {"loss::smooth_nr": "$float('nan')"}
    fold = 1 if "nodule" in name else None
    assert train(BUNDLES / name, fold=fold, overrides=overrides, out=tmp_path / "run") == 5
    error = capfd.readouterr().err
    assert "E_LOSS_NOT_FINITE: epoch 1, iteration 1: the loss is nan for a batch of " in error
    assert re.search(r"(ct|phantom-0007|crop-\d) \((cts|phantoms|hosts|nodules)\)", error)
    assert not (tmp_path / "run" / "model.pt").exists()
