"""Doubt and explanations of nodules, by networks whose answer is known: in its place and amount, without a trace."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lungseg3d.core import LocalMap, UsageError, Volume
from lungseg3d.core.volume import Box, Grid
from lungseg3d.inference import MirroredViews, default_layer, doubt_nodules, grad_cam, list_layers, nodule_windows
from lungseg3d.inference.review.uncertainty import entropy_bits
from lungseg3d.networks import LightUNet3d
from lungseg3d.tensors import to_meta_tensor

SOURCE = np.diag([-0.8, 0.8, 2.0, 1.0])  # a CT that runs to the left, with thick slices
SOURCE[:3, 3] = (40.0, -30.0, 5.0)


class Ramp(nn.Module):
    """Logits of the voxel's own brightness, plus a push towards one end of X: so views differ on purpose."""

    def __init__(self, slope: float, push: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(slope))
        self.push = push

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        along = torch.linspace(-1, 1, image.shape[2]).view(1, 1, -1, 1, 1)
        nodule = self.scale * (image - 0.5) + self.push * along
        return torch.cat([torch.zeros_like(nodule), nodule], dim=1)


@pytest.fixture(scope="module")
def scene() -> SimpleNamespace:
    """A bright ball of 6 mm radius in a dark image of 1 mm, and its mask on the CT's grid."""
    working = np.eye(4)
    working[:3, 3] = (-40, -40, -10)
    centre = np.array([10.0, 0.0, 25.0])

    def away(grid: Grid) -> np.ndarray:
        voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
        return np.linalg.norm(grid.to_world(voxels) - centre, axis=-1)

    source = Grid((100, 90, 40), SOURCE)
    near = away(Grid((80, 80, 90), working))
    image = to_meta_tensor(Volume(np.where(near <= 6, 0.9, 0.1).astype(np.float32), working))
    nodules = Volume(np.where(away(source) <= 6, 2, 0).astype(np.uint16), SOURCE)
    return SimpleNamespace(image=image, nodules=nodules, centre=centre, away=away(source))


def bundle(network: nn.Module) -> SimpleNamespace:
    """What `doubt_nodules` needs of a bundle."""
    return SimpleNamespace(network=network, postprocessing=SimpleNamespace(transforms=[object()]))


def test_the_window_holds_the_nodule_in_its_middle_and_on_its_mask(scene):
    (window,) = nodule_windows(scene.image, scene.nodules)
    assert window.number == 2
    assert window.image.shape == (1, 64, 64, 64)
    # The mask comes from slices of 2 mm, the image from voxels of 1 mm: half a slice of difference at the poles.
    assert window.image[0].numpy()[window.mask].mean() > 0.8
    assert np.argwhere(window.mask).mean(axis=0) == pytest.approx([31.5] * 3, abs=0.6)


def test_what_lies_in_the_window_comes_back_to_its_place_on_the_ct(scene):
    (window,) = nodule_windows(scene.image, scene.nodules)
    back = window.on_source(window.mask.astype(np.float32), scene.nodules.grid)
    there = np.zeros(scene.nodules.shape, np.float32)
    there[back.box.slices] = back.values
    ours, theirs = there >= 0.5, scene.nodules.array > 0
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.93


def test_a_network_that_is_sure_has_no_doubt_and_one_at_one_half_has_a_bit(scene):
    sure = doubt_nodules(bundle(Ramp(60.0, 0.0)), scene.image, scene.nodules)[2]
    torn = doubt_nodules(bundle(Ramp(0.0, 0.0)), scene.image, scene.nodules)[2]
    assert (sure.uncertainty, sure.view_agreement) == pytest.approx((0.0, 1.0), abs=1e-3)
    assert torn.uncertainty == pytest.approx(1.0, abs=1e-3)
    place = torn.entropy.box.slices
    assert torn.entropy.values[scene.away[place] <= 4].min() > 0.99
    assert torn.entropy.values[scene.away[place] > 16].max() == 0


def test_views_that_contradict_each_other_agree_less(scene):
    calm, moody = (doubt_nodules(bundle(Ramp(20.0, push)), scene.image, scene.nodules)[2] for push in (0.0, 150.0))
    assert calm.view_agreement > 0.99
    assert moody.view_agreement < 0.9
    assert moody.uncertainty > calm.uncertainty + 0.1


def test_entropy_is_one_bit_at_one_half_and_none_at_the_ends():
    assert entropy_bits(np.array([0.0, 0.11, 0.5, 1.0])) == pytest.approx([0, 0.4999, 1, 0], abs=1e-3)


def test_a_mirrored_view_is_turned_back_before_it_is_compared():
    image = torch.rand(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    views = MirroredViews(Ramp(3.0, 0.0), flips=(0, 1, 2), precision="fp32")
    each = views.each(image)
    assert each.shape == (8, 8, 8, 8)
    assert np.ptp(each, axis=0).max() < 1e-6
    assert np.allclose(views.mean(image), each[0], atol=1e-6)


def test_grad_cam_points_at_what_the_network_looks_at_and_leaves_no_hook(scene):
    # A network that sees brightness alone, through two convolutions: what speaks for the nodule is the bright ball.
    first, last = nn.Conv3d(1, 4, 3, stride=2, padding=1), nn.Conv3d(4, 2, 1)
    network = nn.Sequential(first, nn.ReLU(inplace=True), nn.Upsample(scale_factor=2), last)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first.weight[:, 0, 1, 1, 1] = 1.0
        first.bias[:] = -0.3
        last.weight[1] = 1.0
    (window,) = nodule_windows(scene.image, scene.nodules)
    network.eval()
    before = network(window.image[None]).detach()
    heat = grad_cam(network, window, "1")
    assert heat.shape == (64, 64, 64)
    assert heat.max() == pytest.approx(1)
    assert heat[window.mask].mean() > 0.6
    assert heat[~window.mask].mean() < 0.02
    assert all(not module._forward_hooks and not module._backward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(network(window.image[None]), before)


def test_the_default_layer_is_the_last_before_the_answer_and_a_misspelt_one_is_named(scene):
    network = LightUNet3d(channels=(4, 6, 8)).eval()
    (window,) = nodule_windows(scene.image, scene.nodules)
    layers = list_layers(network, window.image)
    assert {layer.name: layer.shape for layer in layers}["encoder.2"] == (8, 8, 8)
    assert default_layer(layers) == "decoder.1"
    with pytest.raises(UsageError, match="E_NO_LAYER"):
        default_layer([])
    assert grad_cam(network, window, "decoder.0").shape == (64, 64, 64)
    with pytest.raises(UsageError, match=r"E_NO_LAYER.*encodr\.2\nDid you mean encoder\.2\?"):
        grad_cam(network, window, "encodr.2")


def test_a_local_map_keeps_its_place_when_the_axes_turn():
    random = np.random.default_rng(0)
    grid = Grid((6, 7, 8), np.array([[0, -1.0, 0, 3], [0, 0, 2.0, 1], [1.5, 0, 0, 0], [0, 0, 0, 1]]))
    box = Box((1, 2, 3), (4, 6, 8))
    whole = np.zeros(grid.shape, np.float32)
    values = random.random(box.shape, dtype=np.float32)
    whole[box.slices] = values
    turned = LocalMap(box, values).as_ras(grid)
    assert np.array_equal(Volume(whole, grid.affine).as_ras().array[turned.box.slices], turned.values)
    with pytest.raises(ValueError, match="shape"):
        LocalMap(box, whole)
