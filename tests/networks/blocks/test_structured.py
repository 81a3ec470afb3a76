"""DropBlock drops cubes in its share, the shift moves by one voxel, and blocks keep their shapes."""

from __future__ import annotations

import pytest
import torch

from lungseg3d.networks import S3TUNet3d, SEUNet3d, SwinHybrid3d
from lungseg3d.networks.blocks.residual import AttendedResidualBlock, ResidualBlock, separable_convolution
from lungseg3d.networks.blocks.structured import (
    DepthwiseFusion,
    DropBlock3d,
    RegularisedConvolution,
    ShiftedJoin,
    spatial_shift,
)
from lungseg3d.networks.halved_unet import Addition, Concatenation, HalvedUNet3d


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.3])
def test_dropblock_drops_its_share_and_keeps_the_mean(probability):
    dropped = DropBlock3d(probability).train()(torch.ones(2, 8, 24, 24, 24))
    assert (dropped == 0).float().mean().item() == pytest.approx(probability, abs=0.02)
    assert dropped.mean().item() == pytest.approx(1, abs=1e-4)


def test_dropblock_drops_cubes():
    kept = DropBlock3d(0.02).train()(torch.ones(1, 1, 40, 40, 40)) != 0
    holes = ~kept[0, 0, 2:-2, 2:-2, 2:-2]
    # Every hole inside is part of a cube of 3 x 3 x 3 holes.
    cubes = torch.nn.functional.avg_pool3d((~kept).float(), 3, stride=1) == 1
    covered = torch.nn.functional.max_pool3d(torch.nn.functional.pad(cubes.float(), [2] * 6), 3, stride=1)
    assert holes.any()
    assert (covered[0, 0, 2:-2, 2:-2, 2:-2][holes] == 1).all()


def test_dropblock_does_nothing_in_eval():
    features = torch.randn(1, 2, 4, 4, 4)
    assert torch.equal(DropBlock3d(0.5).eval()(features), features)


@pytest.mark.parametrize("wrong", [{"probability": 1.0}, {"size": 2}])
def test_dropblock_refuses_what_it_cannot_do(wrong):
    with pytest.raises(ValueError, match="0 to below 1, and odd"):
        DropBlock3d(**wrong)


def test_the_spatial_shift_moves_each_sixth_of_the_channels_one_voxel_along_its_direction():
    features = torch.zeros(1, 7, 5, 5, 5)
    features[:, :, 2, 2, 2] = 1
    shifted = spatial_shift(features)
    places = [tuple(shifted[0, c].nonzero()[0].tolist()) for c in range(7)]
    assert places == [(3, 2, 2), (1, 2, 2), (2, 3, 2), (2, 1, 2), (2, 2, 3), (2, 2, 1), (2, 2, 2)]


def test_the_border_repeats_where_the_shift_leaves_a_gap():
    ramp = torch.arange(4.0)[None, None, :, None, None].expand(1, 6, 4, 1, 1)
    shifted = spatial_shift(ramp)[0, :, :, 0, 0]
    assert shifted[0].tolist() == [0, 0, 1, 2]
    assert shifted[1].tolist() == [1, 2, 3, 3]
    assert shifted[2:].tolist() == [[0, 1, 2, 3]] * 4


def test_joins_say_how_many_channels_they_give():
    below, skip = torch.randn(2, 12, 3, 4, 5), torch.randn(2, 12, 3, 4, 5)
    for join in (Concatenation(12), Addition(12), ShiftedJoin(12)):
        assert join(below, skip).shape == (2, join.out_channels, 3, 4, 5)
    assert torch.equal(Addition(12)(below, skip), below + skip)
    assert torch.equal(ShiftedJoin(12)(below, skip)[:, :12], below)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("block", [ResidualBlock, RegularisedConvolution, DepthwiseFusion])
def test_a_block_keeps_or_halves_its_grid(block, stride):
    assert block(4, 6, stride)(torch.randn(2, 4, 8, 6, 4)).shape == (2, 6, 8 // stride, 6 // stride, 4 // stride)


def test_an_attended_block_with_no_attention_is_a_residual_block():
    plain, attended = ResidualBlock(4, 6, 2).eval(), AttendedResidualBlock(4, 6, torch.nn.Identity(), 2).eval()
    attended.convolutions.load_state_dict(
        {key.replace("4.", "3.", 1).replace("5.", "4.", 1) if key[0] in "45" else key: value
         for key, value in plain.convolutions.state_dict().items()}
    )  # fmt: skip
    attended.skip.load_state_dict(plain.skip.state_dict())
    features = torch.randn(1, 4, 6, 6, 6)
    torch.testing.assert_close(attended(features), plain(features))


def test_separable_convolutions_take_a_fraction_of_the_weights():
    assert sum(p.numel() for p in separable_convolution(32, 64, 1).parameters()) == 27 * 32 + 32 * 64
    whole, separable = (SEUNet3d(separable=option) for option in (False, True))
    counts = [sum(p.numel() for p in network.parameters()) for network in (whole, separable)]
    assert counts[1] < 0.25 * counts[0]
    assert separable.eval()(torch.rand(1, 1, 9, 10, 11)).shape == (1, 2, 9, 10, 11)


def test_the_auxiliary_classifier_speaks_in_training_only_and_of_every_foreground_class():
    network, image = SEUNet3d(out_channels=3, channels=(8, 12)), torch.rand(2, 1, 8, 8, 8)
    logits, presence = network.train()(image)
    assert (logits.shape, presence.shape) == ((2, 3, 8, 8, 8), (2, 2))
    assert network.eval()(image).shape == (2, 3, 8, 8, 8)


@pytest.mark.parametrize(
    ("network", "wrong"),
    [
        (SwinHybrid3d, {"heads": [2]}),
        (SwinHybrid3d, {"channels": [8, 8]}),
        (S3TUNet3d, {"cells": [2]}),
        (S3TUNet3d, {"channels": [8, 12]}),
    ],
)
def test_a_hybrid_wants_one_of_each_for_every_attention_level_and_a_level_of_convolutions(network, wrong):
    with pytest.raises(ValueError, match="leave a level for convolutions"):
        network(**wrong)


def test_a_plan_with_missing_levels_is_refused():
    with pytest.raises(ValueError, match="the decoder one less"):
        HalvedUNet3d(1, 2, (8, 16), [ResidualBlock, ResidualBlock], [])
