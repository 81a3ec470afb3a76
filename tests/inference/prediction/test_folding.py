"""A folded network says what its original says, and the original stays as it was."""

import copy

import pytest
import torch

from lungseg3d.core import Box
from lungseg3d.inference import predictor_of
from lungseg3d.inference.prediction.folding import folded
from lungseg3d.networks import LightUNet3d
from lungseg3d.networks.blocks.residual import ResidualBlock


def make_network() -> LightUNet3d:
    torch.manual_seed(0)
    network = LightUNet3d(channels=(8, 16))
    with torch.no_grad():  # norms that have learnt something
        for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm3d)):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-1, 1)
    return network.eval()


def test_logits_are_those_of_the_network_with_its_norms():
    network, image = make_network(), torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.allclose(folded(network, "fp32")(image), network(image), atol=1e-4)


def test_no_norm_is_left_and_the_network_keeps_its_own():
    network = make_network()
    before = copy.deepcopy(network.state_dict())
    norms = [module for module in folded(network, "bf16").modules() if isinstance(module, torch.nn.BatchNorm3d)]
    assert not norms
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.bf16)])
def test_a_predictor_says_the_same_of_a_part_as_of_the_whole(precision):
    network, image = make_network(), torch.rand(1, 1, 32, 32, 32)
    box = Box((8, 8, 8), (24, 20, 16))
    predictor = predictor_of(network, "torch", precision)
    whole, part = predictor(image)[(..., *box.slices)], predictor(image, box)
    assert torch.allclose(whole, part, atol=1e-5 if precision == "fp32" else 0.1)


def test_a_predictor_follows_weights_that_change():
    network, image = make_network(), torch.rand(1, 1, 16, 16, 16)
    before = predictor_of(network, "torch", "fp32")(image)
    with torch.no_grad():
        network.head.bias.add_(1.0)
    assert torch.allclose(predictor_of(network, "torch", "fp32")(image), before + 1, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.bf16)])
def test_blocks_are_fused_into_their_convolutions(precision):
    network, image = make_network(), torch.rand(1, 1, 16, 16, 16)
    copied = folded(network, precision)
    assert not any(isinstance(module, ResidualBlock) for module in copied.modules())
    said = predictor_of(network, "torch", precision)(image)
    with torch.no_grad():
        assert torch.allclose(said, network(image), atol=1e-4 if precision == "fp32" else 0.2)
    assert said.dtype == torch.float32


@pytest.mark.bf16
def test_a_network_with_weights_of_two_types_is_still_computed():
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.BatchNorm3d(4), torch.nn.InstanceNorm3d(4, affine=True)
    ).eval()
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert torch.allclose(predictor_of(network, "torch", "bf16")(image), network(image), atol=0.2)


@pytest.mark.bf16
@pytest.mark.parametrize("shape", [(16, 16, 16), (80, 80, 16), (48, 32, 8)])
def test_in_bf16_the_logits_are_right_also_where_the_deepest_level_is_one_voxel_thick(shape):
    torch.manual_seed(0)
    network, image = LightUNet3d(channels=(8, 16, 32, 32)).eval(), torch.rand(1, 1, *shape)
    with torch.no_grad():
        expected = network(image)
    predictor = predictor_of(network, "torch", "bf16")
    for _ in range(3):
        leave_garbage_in_memory()
        assert torch.allclose(predictor(image), expected, atol=0.1)


@pytest.mark.bf16
def test_single_convolutions_are_right_in_bf16_however_small_the_image():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, 32, 3, padding=1), torch.nn.BatchNorm3d(32), torch.nn.Conv3d(32, 32, 3, stride=2, padding=1)
    ).eval()
    image = torch.randn(1, 1, 10, 10, 2)
    with torch.no_grad():
        expected = network(image)
    predictor = predictor_of(network, "torch", "bf16")
    leave_garbage_in_memory()
    assert torch.allclose(predictor(image), expected, atol=0.1)


def leave_garbage_in_memory() -> None:
    """What a convolution that reads beyond its memory would find there."""
    for size in (2**12, 2**16, 2**20):
        torch.full((8, size), 3e38, dtype=torch.bfloat16)
