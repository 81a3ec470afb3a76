"""Both bundles are complete: files, metadata, names, references, and one network everywhere."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser, verify_metadata, verify_net_in_out

import lungseg3d
from lungseg3d.analysis.lungs.quality import LEAST_LUNG_ML

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = sorted(path.name for path in BUNDLES.iterdir() if path.is_dir())
CONFIGS = sorted(str(path.relative_to(BUNDLES)) for path in BUNDLES.rglob("configs/**/*.json"))
NEEDED = [
    "LICENSE",
    "docs/README.md",
    "configs/metadata.json",
    "configs/train.json",
    "configs/evaluate.json",
    "configs/inference.json",
    "configs/multi_gpu_train.json",
    "configs/logging.conf",
    "configs/networks/light_unet.json",
]
# Which files are read one after the other, each changing what came before.
RUNS = [
    *((name, ["inference"]) for name in NAMES),
    *((name, ["train"]) for name in NAMES),
    *((name, ["train", overlay]) for name in NAMES for overlay in ("evaluate", "multi_gpu_train")),
    *(
        (path.parts[-4], ["train", f"{path.parent.name}/{path.stem}"])
        for kind in ("networks", "training")
        for path in sorted(BUNDLES.glob(f"*/configs/{kind}/*.json"))
    ),
]
CLASSES = {"lung_ct_segmentation": 3, "lung_nodule_ct_segmentation": 2}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a key occurs twice in {names}"
    return dict(pairs)


def _load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)


def _merged(name: str, files: list[str]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(BUNDLES / name / "configs" / f"{file}.json") for file in files])
    return parser


def _nodes(config: Any) -> list[Any]:
    """The configuration and everything inside it."""
    inner = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    return [config, *(node for value in inner for node in _nodes(value))]


def test_the_bundles_are_those_of_the_two_stages():
    assert set(NAMES) == set(CLASSES)


@pytest.mark.parametrize("needed", NEEDED)
@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_has_every_file_that_monai_and_its_reader_look_for(name, needed):
    assert (BUNDLES / name / needed).is_file()


def test_a_bundle_holds_no_code():
    assert list(BUNDLES.rglob("*.py")) == []


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_is_json_without_double_keys_and_imports(config):
    assert "imports" not in _load(BUNDLES / config)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_target_exists_and_takes_the_arguments_that_it_is_given(config):
    locator = ComponentLocator()
    for node in _nodes(_load(BUNDLES / config)):
        if not isinstance(node, dict) or "_target_" not in node:
            continue
        target = ConfigComponent(config={"_target_": node["_target_"]}, locator=locator).resolve_module_name()
        if isinstance(target, str):
            module, _, attribute = target.rpartition(".")
            target = getattr(__import__(module, fromlist=[attribute]), attribute)
        signature = inspect.signature(target)
        if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            continue
        given = {key for key in node if not key.startswith("_")}
        assert given <= set(signature.parameters), f"{node['_target_']} takes no {given - set(signature.parameters)}"


@pytest.mark.parametrize(
    ("name", "files"), RUNS, ids=lambda value: value if isinstance(value, str) else "+".join(value)
)
def test_every_reference_in_a_run_points_at_something(name, files):
    parser = _merged(name, files)
    texts = [node for node in _nodes(parser.get()) if isinstance(node, str) and node[:1] in ("@", "$")]
    references = {reference for text in texts for reference in re.findall(r"@([\w#]+)", text)}
    assert len(references) > 10
    assert [reference for reference in sorted(references) if reference not in parser] == []


@pytest.mark.parametrize("name", NAMES)
def test_training_inference_and_the_overlay_mean_the_same_network_and_loss(name):
    train, inference, overlay = (
        _load(BUNDLES / name / "configs" / f"{file}.json") for file in ("train", "inference", "networks/light_unet")
    )
    assert train["network_def"] == inference["network_def"] == overlay["network_def"]
    assert train["loss"] == overlay["loss"]
    for key in ("spacing_mm", "hu_range"):
        assert train[key] == inference[key]


def test_what_the_lung_bundle_calls_no_lung_is_what_the_check_after_segmentation_calls_none():
    inference = _load(BUNDLES / "lung_ct_segmentation" / "configs" / "inference.json")
    nodes = [node for node in _nodes(inference) if isinstance(node, dict)]
    assert [node["least_ml"] for node in nodes if "least_ml" in node] == [LEAST_LUNG_ML]


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_name_the_bundle_its_versions_and_its_use(name):
    metadata = _load(BUNDLES / name / "configs" / "metadata.json")
    assert metadata["name"] == name
    assert next(iter(metadata["changelog"])) == metadata["version"]
    assert metadata["required_packages_version"]["lungseg3d"] == lungseg3d.__version__
    assert "esearch use only; not a medical device" in metadata["intended_use"]
    for key in ("schema", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors"):
        assert metadata[key]
    for key in ("copyright", "data_source", "data_type", "image_classes", "label_classes", "pred_classes"):
        assert metadata[key]
    assert metadata["references"]


@pytest.mark.real
@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_keep_the_schema_that_they_name(name, real_data, tmp_path):
    metadata = BUNDLES / name / "configs" / "metadata.json"
    schema = real_data.parent / "zoo" / _load(metadata)["schema"].rpartition("/")[2]
    if not schema.is_file():
        pytest.skip(f"no copy of the schema at {schema}")
    # A schema that is there already is not downloaded.
    verify_metadata(meta_file=str(metadata), filepath=shutil.copy(schema, tmp_path))
    broken = tmp_path / "metadata.json"
    broken.write_text(metadata.read_text().replace('"task"', '"tusk"'))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(broken), filepath=str(tmp_path / schema.name))


@pytest.mark.parametrize("name", NAMES)
def test_the_network_takes_and_gives_the_channels_that_the_metadata_promise(name):
    configs = BUNDLES / name / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    verify_net_in_out(net_id="network_def", device="cpu", n=1, **files)
    promised = _load(configs / "metadata.json")["network_data_format"]
    network = _merged(name, ["inference"]).get_parsed_content("network_def").eval()
    image = torch.rand(1, promised["inputs"]["image"]["num_channels"], 16, 32, 48)
    with torch.no_grad():
        logits = network(image)
    assert logits.shape == (1, CLASSES[name], 16, 32, 48)
    pred = promised["outputs"]["pred"]
    assert pred["num_channels"] == len(pred["channel_def"]) == CLASSES[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rank", "seed"), [(0, 7), (1, 1007)])
def test_one_rank_logs_and_each_makes_its_own_part_of_a_batch(name, rank, seed, monkeypatch):
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    parser = _merged(name, ["train", "multi_gpu_train"])
    parser["seed"] = 7
    assert parser.get_parsed_content("train#sampler#seed") == 7
    assert parser.get_parsed_content("train#sampler#process") == (rank, 2)
    assert parser.get_parsed_content("rank_seed") == seed
    disabled = [handler.get("_disabled_") for handler in parser.get("train#handlers")]
    assert disabled.count("@is_not_rank0") >= 2
    assert parser.get_parsed_content("is_not_rank0") is (rank > 0)


def _schedule(name: str, overlay: str, **keys: int) -> tuple[Any, torch.optim.Optimizer]:
    """The schedule of a training overlay on an optimiser with the rate 1."""
    parser = _merged(name, ["train", overlay] if overlay else ["train"])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    parser["optimizer"] = optimizer
    for key, value in keys.items():
        parser[key] = value
    return parser.get_parsed_content("lr_scheduler"), optimizer


def _rates(schedule: Any, optimizer: torch.optim.Optimizer, values: list[Any]) -> list[float]:
    rates = []
    for value in values:
        optimizer.step()
        schedule.step(*value)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("name", NAMES)
def test_the_overlays_schedules_fall_as_they_say(name):
    cosine = _rates(*_schedule(name, "", epochs=4, batches_per_epoch=10), [()] * 40)
    assert max(cosine) == pytest.approx(1.0)
    assert cosine[-1] == pytest.approx(0.0, abs=1e-6)
    poly = _rates(*_schedule(name, "training/poly", epochs=4, batches_per_epoch=10), [()] * 40)
    assert poly[19] == pytest.approx(0.5**0.9)
    assert poly[-1] == pytest.approx(0.0, abs=1e-9)
    plateau = _rates(*_schedule(name, "training/plateau", val_interval=2), [(0.5,)] * 16)
    # The first value is a best; the rate halves at the seventh epoch after it, and at the seventh after that.
    assert plateau == [1.0] * 7 + [0.5] * 7 + [0.25] * 2
    rising = _rates(*_schedule(name, "training/plateau", val_interval=2), [(0.1 * i,) for i in range(16)])
    assert rising == [1.0] * 16


@pytest.mark.parametrize("name", NAMES)
def test_a_plateau_is_one_of_the_best_validation_metric_after_each_epoch(name):
    handler = _merged(name, ["train", "training/plateau"]).get("train#handlers#1")
    assert handler["_target_"] == "LrScheduleHandler"
    assert handler["epoch_level"] is True
    assert "@validate#evaluator.state.best_metric" in handler["step_transform"]


def test_both_bundles_train_on_several_gpus_by_the_same_overlay():
    one, two = (_load(BUNDLES / name / "configs" / "multi_gpu_train.json") for name in NAMES)
    assert one == two


@pytest.mark.parametrize("name", NAMES)
def test_the_model_card_names_only_files_that_are_there(name):
    card = (BUNDLES / name / "docs" / "README.md").read_text(encoding="utf-8")
    assert "not a medical device" in card
    named = {file for file in re.findall(r"configs/[\w/]+\.json", card)}
    assert {"configs/train.json", "configs/evaluate.json", "configs/inference.json"} <= named
    assert [file for file in sorted(named) if not (BUNDLES / name / file).is_file()] == []
