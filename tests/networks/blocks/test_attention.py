"""Attentions and adaptive kernels give what their papers' formulas give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.networks.blocks.adaptive_kernels import DynamicConvolution, SelectiveKernels
from lungseg3d.networks.blocks.attention import AttentionalFusion, ChannelAttention, SimAM, SpatialAttention


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def sigmoid(x: np.ndarray | float) -> np.ndarray | float:
    return 1 / (1 + np.exp(-x))


def test_simam_is_the_formula_of_the_paper():
    features = torch.randn(2, 3, 4, 5, 6)
    x = features.double().numpy()
    squares = (x - x.mean(axis=(2, 3, 4), keepdims=True)) ** 2
    variance = squares.sum(axis=(2, 3, 4), keepdims=True) / (4 * 5 * 6 - 1)
    expected = x * sigmoid(squares / (4 * (variance + 1e-4)) + 0.5)
    np.testing.assert_allclose(SimAM()(features).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_simam_weighs_the_voxel_that_stands_out_more_than_the_others():
    features = torch.ones(1, 1, 5, 5, 5)
    features[0, 0, 2, 2, 2] = 10
    weights = SimAM()(features) / features
    assert weights[0, 0, 2, 2, 2] > 0.99
    assert weights[0, 0, 0, 0, 0].item() == pytest.approx(sigmoid(0.5), abs=0.01)


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 4, 5)])
def test_simam_gives_a_flat_volume_and_a_single_voxel_the_weight_of_an_average_voxel(size):
    features = torch.full((1, 2, *size), 3.0)
    torch.testing.assert_close(SimAM()(features), features * float(sigmoid(0.5)))


def test_simam_keeps_bf16_but_counts_in_float():
    # Around 300 bf16 has steps of 2: squares of differences would be lost.
    features = (300 + 4 * torch.randn(1, 1, 6, 6, 6)).bfloat16()
    found = SimAM()(features)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), SimAM()(features.float()), rtol=2e-2, atol=0)


def test_channel_attention_weighs_by_mean_and_maximum():
    attention = ChannelAttention(2)
    with torch.no_grad():
        for layer in (attention.perceptron[0], attention.perceptron[2]):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[:2, :2] = torch.eye(2)  # the perceptron passes positive numbers on
    features = torch.zeros(1, 2, 2, 2, 2)
    features[0, 0] = 1
    features[0, 1, 0, 0, 0] = 4
    found = attention(features)
    assert found[0, 0, 1, 1, 1].item() == pytest.approx(sigmoid(1 + 1))
    assert found[0, 1, 0, 0, 0].item() == pytest.approx(4 * sigmoid(0.5 + 4))


def test_spatial_attention_weighs_by_the_channels_mean_and_maximum():
    attention = SpatialAttention(3)
    with torch.no_grad():
        attention.convolution.weight.zero_()
        attention.convolution.bias.zero_()
        attention.convolution.weight[0, 0, 1, 1, 1] = 1.0
        attention.convolution.weight[0, 1, 1, 1, 1] = 10.0
    features = torch.zeros(1, 2, 3, 3, 3)
    features[0, :, 1, 1, 1] = torch.tensor([0.2, 0.4])
    found = attention(features)
    assert found[0, 1, 1, 1, 1].item() == pytest.approx(0.4 * sigmoid(0.3 + 4), rel=1e-5)
    assert found[0, :, 0, 0, 0].tolist() == [0, 0]


def test_fusion_of_two_equal_inputs_is_their_sum_and_lies_between_twice_each_otherwise():
    fusion = AttentionalFusion(8).eval()
    below, skip = torch.rand(2, 8, 3, 4, 5), torch.rand(2, 8, 3, 4, 5)
    torch.testing.assert_close(fusion(below, below), 2 * below)
    fused = fusion(below, skip)
    assert (fused >= 2 * torch.minimum(below, skip) - 1e-5).all()
    assert (fused <= 2 * torch.maximum(below, skip) + 1e-5).all()


def test_a_batch_of_one_voxel_can_be_fused_in_training():
    assert AttentionalFusion(8).eval()(torch.rand(1, 8, 1, 1, 1), torch.rand(1, 8, 1, 1, 1)).shape == (1, 8, 1, 1, 1)
    pair = AttentionalFusion(8).train()(torch.rand(1, 8, 2, 1, 1), torch.rand(1, 8, 2, 1, 1))
    assert torch.isfinite(pair).all()


def test_dynamic_convolution_is_one_convolution_with_the_mixed_kernel_of_each_case():
    convolution, features = DynamicConvolution(3, 5, kernels=4, temperature=1.0), torch.randn(3, 3, 6, 5, 4)
    shares = convolution.mixture(features)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(3))
    assert not torch.allclose(shares[0], shares[1])
    for i in range(3):
        kernel = sum(share * w for share, w in zip(shares[i], convolution.weight, strict=True))
        expected = torch.nn.functional.conv3d(features[i : i + 1], kernel, padding=1)
        torch.testing.assert_close(convolution(features)[i : i + 1], expected, atol=1e-5, rtol=1e-5)


def test_a_high_temperature_mixes_all_kernels_alike():
    convolution = DynamicConvolution(4, 4, kernels=4, temperature=1e6)
    torch.testing.assert_close(convolution.mixture(torch.randn(2, 4, 3, 3, 3)), torch.full((2, 4), 0.25))


@pytest.mark.parametrize("wrong", [{"kernels": 0}, {"temperature": 0}])
def test_dynamic_convolution_refuses_no_kernel_and_no_temperature(wrong):
    with pytest.raises(ValueError, match="at least 1, and above 0"):
        DynamicConvolution(2, 2, **wrong)


def test_selective_kernels_choose_between_narrow_and_wide_with_weights_that_sum_to_one():
    kernels = SelectiveKernels(6).eval()
    choice = kernels.choice(torch.randn(2, 6, 4, 4, 4))
    assert choice.shape == (2, 2, 6)
    torch.testing.assert_close(choice.sum(dim=1), torch.ones(2, 6))
    features = torch.randn(1, 6, 5, 5, 5)
    with torch.no_grad():
        kernels.choose.weight.zero_()
        for chosen, branch in ((0, kernels.narrow), (1, kernels.wide)):
            kernels.choose.bias.copy_(torch.tensor([50.0 * (chosen == 0)] * 6 + [50.0 * (chosen == 1)] * 6))
            torch.testing.assert_close(kernels(features), branch(features))


def test_the_wide_branch_reaches_two_voxels_and_the_narrow_one_a_single_one():
    kernels, impulse = SelectiveKernels(1).eval(), torch.zeros(1, 1, 7, 7, 7)
    impulse[0, 0, 3, 3, 3] = 1
    with torch.no_grad():
        for branch, reach in ((kernels.narrow, 1), (kernels.wide, 2)):
            branch[0].weight.fill_(1)
            places = branch(impulse)[0, 0].nonzero() - 3
            assert places.abs().max() == reach
            assert len(places) == 27
