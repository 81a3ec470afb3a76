"""Every network overlay of every bundle keeps the contract: any size, one tensor in eval, learnable, exportable.

In: `configs/networks/*.json`, read as MONAI reads them. Most networks are made narrow here; the plan stays the same.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
LUNGS, NODULES = "lung_ct_segmentation", "lung_nodule_ct_segmentation"
CLASSES = {LUNGS: 3, NODULES: 2}
OVERLAYS = sorted((path.parts[-4], path.stem) for path in BUNDLES.glob("*/configs/networks/*.json"))
PUBLISHED_NETWORKS = {
    "light_unet", "se_unet", "attention_unet", "dual_attention_unet", "fusion_unet", "unet_plus_plus", "vnet",
    "segresnet", "dynunet", "mednext", "swin_unetr", "swin_hybrid", "s3tu",
}  # fmt: skip
"""Of the first release: none of them goes away."""
# Keys of network_def that make a network narrow, so that its tests are quick; one that is not here is tested as it is.
NARROW: dict[str, dict[str, Any]] = {
    "light_unet": {"channels": [8, 12, 16]},
    "se_unet": {"channels": [8, 12, 16]},
    "dual_attention_unet": {"channels": [8, 12, 16]},
    "fusion_unet": {"channels": [8, 12, 16]},
    "swin_hybrid": {"channels": [8, 12, 16, 24], "heads": [2, 3]},
    "s3tu": {"channels": [8, 12, 16, 24], "heads": [2, 3]},
    "attention_unet": {"network#channels": [8, 12, 16, 24]},
    "unet_plus_plus": {"network#features": [4, 8, 8, 8, 8, 8]},
    "segresnet": {"network#init_filters": 8},
    "dynunet": {"network#filters": [8, 8, 16, 16, 16]},
    "mednext": {"network#init_filters": 4, "network#blocks_down": [1, 1, 1, 1], "network#blocks_up": [1, 1, 1, 1]},
    "swin_unetr": {
        "network#feature_size": 12,
        "network#depths": [2, 1, 1, 1],
        "network#num_heads": [1, 2, 2, 2],
        "network#window_size": 3,
        "minimum": 32,
    },
}
# Instance norm wants more than one voxel at 1 / 32.
WARM_UP, TRAINING = {"swin_unetr": (64, 32, 32)}, {"swin_unetr": (34, 17, 20)}
# MONAI's own code, which TorchScript cannot read: lists beside tensors, einops, modules called in loops.
TRACED_ONLY = {"dynunet", "mednext", "swin_unetr", "unet_plus_plus"}
HAS_EXTRAS = {"se_unet", "unet_plus_plus", "dynunet"}
every_overlay = pytest.mark.parametrize(("bundle", "name"), OVERLAYS, ids=["-".join(pair) for pair in OVERLAYS])
# The bundles' networks differ by one class: what is slow to check is checked for both with -m slow.
every_network = pytest.mark.parametrize(
    ("bundle", "name"),
    [pytest.param(*pair, marks=pytest.mark.slow) if pair[0] == LUNGS else pair for pair in OVERLAYS],
    ids=["-".join(pair) for pair in OVERLAYS],
)


@pytest.fixture(autouse=True)
def _quiet_and_seeded():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        # Tracing warns of every size that it fixes.
        warnings.simplefilter("ignore")
        yield


def read(bundle: str, *overlays: str, narrow: bool = False) -> ConfigParser:
    """`train.json` and overlays over it."""
    configs = BUNDLES / bundle / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / f"{file}.json") for file in ("train", *overlays)])
    if narrow:
        for key, value in NARROW.get(overlays[0].rpartition("/")[2], {}).items():
            assert f"network_def#{key}" in parser, f"{key} is no key of {overlays[0]}"
            parser[f"network_def#{key}"] = value
    return parser


def make(bundle: str, name: str, *more: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A narrow network and its loss."""
    parser = read(bundle, f"networks/{name}", *more, narrow=True)
    return parser.get_parsed_content("network_def"), parser.get_parsed_content("loss")


def patches(bundle: str, size: tuple[int, int, int], count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Dim noise with a bright block of each class, and the label."""
    image, label = 0.2 * torch.rand(count, 1, *size), torch.zeros(count, 1, *size)
    half = size[0] // 2
    for c in range(1, CLASSES[bundle]):
        where = slice(2, half) if c == 1 else slice(half, size[0] - 2)
        label[:, :, where, 3:-3, 4:-4] = c
        image[:, :, where, 3:-3, 4:-4] += 0.4 * c
    return image, label


def warmed(bundle: str, name: str) -> torch.nn.Module:
    """A narrow network in eval mode, its batch norms having seen data."""
    network, _ = make(bundle, name)
    with torch.no_grad():
        network.train()(torch.rand(2, 1, *WARM_UP.get(name, (32, 32, 32))))
    return network.eval()


@pytest.mark.parametrize("bundle", CLASSES)
def test_both_bundles_have_every_network(bundle):
    names = {name for _, name in OVERLAYS}
    assert {name for owner, name in OVERLAYS if owner == bundle} == names
    assert PUBLISHED_NETWORKS | set(NARROW) <= names


@every_overlay
def test_an_overlay_has_the_parameters_that_it_says(bundle, name):
    parser = read(bundle, f"networks/{name}")
    network = parser.get_parsed_content("network_def")
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    description = json.loads((BUNDLES / bundle / "configs" / "networks" / f"{name}.json").read_text())["_desc_"]
    said = re.search(r"(\d+\.\d) M parameters", description)
    if name == "light_unet":
        assert 1 <= millions <= 6
    else:
        assert said, f"{name} does not say how many parameters it has"
        assert millions == pytest.approx(float(said[1]), abs=0.051)
    assert name != "swin_hybrid" or millions <= 10


@every_overlay
def test_an_overlay_changes_the_network_and_at_most_how_the_loss_takes_its_outputs(bundle, name):
    overlay = json.loads((BUNDLES / bundle / "configs" / "networks" / f"{name}.json").read_text())
    assert set(overlay) <= {"_desc_", "network_def", "loss"}
    if name in HAS_EXTRAS:
        # Inside, all networks have one loss, so that a comparison compares networks.
        assert overlay["loss"]["_target_"] == "lungseg3d.losses.LossWithExtras"
        assert overlay["loss"]["loss"] == read(bundle).get("loss")


@every_network
def test_eval_gives_one_tensor_of_logits_of_the_images_odd_size_and_no_case_changes_another(bundle, name):
    network = warmed(bundle, name)
    images = torch.rand(2, 1, 33, 20, 27)
    with torch.no_grad():
        together = network(images)
        assert isinstance(together, torch.Tensor)
        assert together.shape == (2, CLASSES[bundle], 33, 20, 27)
        assert torch.isfinite(together).all()
        for i in range(2):
            torch.testing.assert_close(network(images[i : i + 1])[0], together[i], atol=2e-4, rtol=1e-3)


def learn(
    network: torch.nn.Module,
    loss: torch.nn.Module,
    batch: tuple[torch.Tensor, torch.Tensor],
    steps: int,
    rate: float,
    enough: float = 0.0,
) -> tuple[list[float], set[str]]:
    """Losses of a few steps on one batch, and the names of the parameters that had a gradient other than 0.

    Ends before the last step once the loss is below `enough` of the first one.
    """
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=rate)
    losses, touched = [], set()
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(network(batch[0]), batch[1])
        value.backward()
        assert [key for key, p in network.named_parameters() if p.grad is None] == []
        assert all(torch.isfinite(p.grad).all() for p in network.parameters())
        touched |= {key for key, p in network.named_parameters() if p.grad.abs().max() > 0}
        optimizer.step()
        losses.append(value.item())
        if losses[-1] < enough * losses[0]:
            break
    return losses, touched


@every_network
def test_training_reaches_every_parameter_and_the_loss_of_the_overlay_falls(bundle, name):
    network, loss = make(bundle, name)
    batch = patches(bundle, TRAINING.get(name, (22, 17, 20)))
    assert isinstance(network.train()(batch[0]), tuple) is (name in HAS_EXTRAS)
    losses, touched = learn(network, loss, batch, steps=8, rate=4e-3, enough=0.8)
    # A bias before a norm has no gradient but rounding, so the weights are asked.
    assert {key for key, p in network.named_parameters() if p.ndim > 1} - touched == set()
    assert losses[-1] < 0.9 * losses[0], losses


@every_network
def test_an_exported_network_gives_the_eager_logits(bundle, name):
    network, image = warmed(bundle, name), torch.rand(1, 1, *WARM_UP.get(name, (32, 24, 30)))
    with torch.no_grad():
        eager = network(image)
        torch.testing.assert_close(torch.jit.trace(network, image)(image), eager, atol=1e-4, rtol=1e-4)
        if name not in TRACED_ONLY:
            scripted = torch.jit.script(network)
            torch.testing.assert_close(scripted(image), eager, atol=1e-4, rtol=1e-4)
            other = torch.rand(1, 1, 19, 33, 16)
            torch.testing.assert_close(scripted(other), network(other), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@every_overlay
def test_a_full_sized_network_learns_a_patch(bundle, name):
    parser = read(bundle, f"networks/{name}")
    network, loss = parser.get_parsed_content("network_def"), parser.get_parsed_content("loss")
    losses, _ = learn(network, loss, patches(bundle, (32, 32, 32)), steps=8, rate=1e-3)
    assert losses[-1] < 0.8 * losses[0], losses


LOSSES = sorted((path.parts[-4], path.stem) for path in BUNDLES.glob("*/configs/training/loss_*.json"))
LOSS_NAMES = {name.removeprefix("loss_") for _, name in LOSSES}
# Trainings of users may name these: a further loss needs no entry, but none of these may go.
PUBLISHED_LOSSES = {"boundary", "dice_bce", "dice_focal", "focal_tversky", "soft_iou", "tversky"}


@pytest.mark.parametrize("bundle", CLASSES)
def test_both_bundles_have_every_loss(bundle):
    assert {name for owner, name in LOSSES if owner == bundle} == {f"loss_{name}" for name in LOSS_NAMES}
    assert PUBLISHED_LOSSES <= LOSS_NAMES


@pytest.mark.parametrize(("bundle", "loss_name"), LOSSES, ids=["-".join(pair) for pair in LOSSES])
def test_every_loss_teaches_a_network_of_one_output(bundle, loss_name):
    network, loss = make(bundle, "light_unet", f"training/{loss_name}")
    losses, _ = learn(network, loss, patches(bundle, (20, 16, 18)), steps=6, rate=1e-2)
    assert losses[-1] < losses[0] - 0.05 * abs(losses[0]), losses


@pytest.mark.parametrize("loss_name", sorted(LOSS_NAMES))
@pytest.mark.parametrize("name", ["se_unet", "dynunet"])
def test_every_loss_takes_extra_outputs_too(loss_name, name):
    network, loss = make(NODULES, name, f"training/loss_{loss_name}")
    _, touched = learn(network, loss, patches(NODULES, (20, 16, 18)), steps=1, rate=1e-2)
    heads = {"se_unet": "presence.weight", "dynunet": "network.deep_supervision_heads.2.conv.conv.weight"}
    assert heads[name] in touched
