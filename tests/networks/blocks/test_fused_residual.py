"""A fused block says what the block of its parts says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lungseg3d.networks.blocks import fused_residual
from lungseg3d.networks.blocks.fused_residual import FusedResidualBlock, can_fuse
from lungseg3d.networks.blocks.residual import ResidualBlock

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")


def make_block(in_channels: int, out_channels: int, stride: int, dtype: torch.dtype) -> ResidualBlock:
    """A block whose norms have been folded away."""
    torch.manual_seed(0)
    block = ResidualBlock(in_channels, out_channels, stride).eval()
    for layers in (block.convolutions, block.skip):
        for i, layer in enumerate(layers if isinstance(layers, nn.Sequential) else ()):
            if isinstance(layer, nn.Conv3d):
                layer.bias = nn.Parameter(torch.randn(layer.out_channels))
            elif isinstance(layer, nn.BatchNorm3d):
                layers[i] = nn.Identity()
    return block.to(dtype)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize(("in_channels", "out_channels", "stride"), [(8, 8, 1), (8, 16, 2), (16, 8, 1)])
def test_it_says_what_the_block_says_and_leaves_the_features_alone(dtype, off, in_channels, out_channels, stride):
    block = make_block(in_channels, out_channels, stride, dtype)
    fused = block.fused()
    assert isinstance(fused, FusedResidualBlock)
    assert (fused.skip is None) == (in_channels == out_channels and stride == 1)
    features = torch.randn(2, in_channels, 6, 8, 10, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
    before = features.clone()
    with torch.no_grad():
        expected, found = block(features), fused(features)
    assert (found.shape, found.dtype) == (expected.shape, dtype)
    assert torch.allclose(found.float(), expected.float(), atol=off, rtol=off)
    assert torch.equal(features, before)


def test_a_block_with_norms_or_of_halves_is_left_as_it_is():
    assert ResidualBlock(8, 8).eval().fused() is None
    assert make_block(8, 8, 1, torch.float16).fused() is None
    assert not can_fuse(nn.Conv3d(1, 1, 3, bias=False))


def test_where_the_operators_are_missing_blocks_stay_as_they_are(monkeypatch):
    block = make_block(8, 8, 1, torch.float32)
    monkeypatch.setattr(fused_residual, "_is_there", lambda dtype: False)
    assert block.fused() is None


def test_the_operators_are_tried_without_a_random_number_drawn():
    fused_residual._is_there.cache_clear()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert fused_residual._is_there(torch.float32)
    assert torch.equal(torch.rand(1), expected)


def test_a_block_can_still_be_scripted():
    block = ResidualBlock(4, 8, stride=2).eval()
    features = torch.rand(1, 4, 8, 8, 8)
    with torch.no_grad():
        assert torch.allclose(torch.jit.script(block)(features), block(features), atol=1e-5)
