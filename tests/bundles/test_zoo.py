"""What MONAI's model zoo checks of a bundle: exported, loaded, trained, evaluated and run on small data, offline.

The zoo's own checks of metadata, channels and properties are in test_bundles.py and test_bundle_runs.py.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export

from tests.support.small_data import LUNGS, NAMES, NODULES, overrides_for, small_data
from tests.support.tables import read_table

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return small_data(tmp_path_factory.mktemp("data"))


def opened(name: str, files: list[str], kind: str, **overrides: Any) -> ConfigWorkflow:
    """A workflow of a bundle from its own folder, with everything that MONAI asks of one."""
    root = BUNDLES / name
    configs = [str(root / "configs" / f"{file}.json") for file in files]
    meta = str(root / "configs" / "metadata.json")
    workflow = ConfigWorkflow(
        configs, meta_file=meta, workflow_type=kind, logging_file=False, bundle_root=str(root), **overrides
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    return workflow


def run(name: str, files: list[str], kind: str, **overrides: Any) -> None:
    """Initialise, run and finalise a workflow, as the zoo does."""
    workflow = opened(name, files, kind, **overrides)
    workflow.run()
    workflow.finalize()


def small(name: str, data: Path, folder: Path) -> dict[str, Any]:
    """Overrides of `train.json` as values."""

    def value(text: str) -> Any:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text

    overrides = {key: value(text) for key, text in overrides_for(name, data, folder / "cache").items()}
    if name == NODULES:
        overrides["fold"] = 1
    return overrides | {"output_dir": str(folder / "run")}


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_is_exported_as_torchscript_that_gives_the_same_logits_and_tells_its_metadata(name, tmp_path):
    configs, weights = BUNDLES / name / "configs", BUNDLES / name / "models" / "model.pt"
    meta, config = str(configs / "metadata.json"), str(configs / "inference.json")
    file = tmp_path / "model.ts"
    ckpt_export("network_def", str(file), ckpt_file=str(weights), meta_file=meta, config_file=config)
    files: dict[str, Any] = {"metadata.json": "", "inference.json": ""}
    exported = torch.jit.load(str(file), _extra_files=files).eval()
    assert f'"name": "{name}"'.encode() in files["metadata.json"]
    parser = ConfigParser()
    parser.read_config(config)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(weights, weights_only=True), strict=True)
    image = torch.rand(1, 1, 32, 48, 16)
    with torch.no_grad():
        torch.testing.assert_close(exported(image), network(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_trains_evaluates_what_it_trained_and_runs_on_a_ct(name, data, tmp_path):
    overrides = small(name, data, tmp_path)
    run(name, ["train"], "train", **overrides)
    weights = tmp_path / "run" / "model.pt"
    assert weights.is_file()

    evaluation = {**overrides, "checkpoint": str(weights), "output_dir": str(tmp_path / "eval")}
    run(name, ["train", "evaluate"], "train", **evaluation)
    rows = read_table(tmp_path / "eval" / "val_mean_dice_raw.csv")
    assert [row["filename"] for row in rows] == (["crop-1", "crop-3"] if name == NODULES else ["ct"])
    assert all(0 <= float(row["mean"]) <= 1 for row in rows)

    inference = {
        "network_def::channels": [4, 8],
        "handlers#0#load_path": str(weights),
        "dataset_dir": str(data / "ct.nii.gz"),
        "output_dir": str(tmp_path / "out"),
        "spacing_mm": overrides["spacing_mm"] * (4 if name == NODULES else 1),
        "device": "$torch.device('cpu')",
        **({"roi": "full"} if name == NODULES else {}),
    }
    run(name, ["inference"], "infer", **inference)
    written = {path.name: path for path in (tmp_path / "out").glob("*/*")}
    maps = ("lungs",) if name == LUNGS else ("labels", "nodules", "candidates")
    assert set(written) == {f"{one}.nii.gz" for one in maps}
    for path in written.values():
        assert np.array_equal(nibabel.load(path).affine, nibabel.load(data / "ct.nii.gz").affine)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overlay"),
    [(path.parts[-4], path.stem) for path in sorted(BUNDLES.glob("*/configs/training/*.json"))],
)
def test_every_training_overlay_trains_and_goes_on_where_it_stopped(name, overlay, data, tmp_path):
    overrides = small(name, data, tmp_path)
    if overlay == "small_nodules":
        overrides["patch_size"] = [16, 20]
    seen: list[int] = []
    for epochs in (1, 2):
        workflow = opened(name, ["train", f"training/{overlay}"], "train", **{**overrides, "epochs": epochs})
        trainer = workflow.parser.get_parsed_content("train#trainer")
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.iteration))
        workflow.run()
    assert seen == [1, 2, 3, 4]
    state = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state.values())
