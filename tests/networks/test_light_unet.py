"""LightUNet3d keeps the network contract: any size in, logits of that size out, learnable, exportable."""

from __future__ import annotations

import pytest
import torch

from lungseg3d.networks import LightUNet3d
from lungseg3d.networks.light_unet import depth_to_space, space_to_depth


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def tiny(**options) -> LightUNet3d:
    """A small network whose batch norms have seen data, so that `eval` is no identity of them."""
    network = LightUNet3d(channels=(4, 6, 8), **options)
    with torch.no_grad():
        network.train()(torch.rand(2, options.get("in_channels", 1), 16, 16, 16))
    return network.eval()


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 9, 23), (1, 2, 3), (5, 32, 8)])
@pytest.mark.parametrize("classes", [2, 3])
def test_logits_have_the_images_size_whatever_it_is(size, classes):
    logits = tiny(out_channels=classes)(torch.rand(2, 1, *size))
    assert logits.shape == (2, classes, *size)
    assert torch.isfinite(logits).all()


def test_several_image_channels_go_in():
    assert tiny(in_channels=3)(torch.rand(1, 3, 8, 9, 10)).shape == (1, 2, 8, 9, 10)


def test_every_parameter_learns():
    network = LightUNet3d(channels=(4, 6, 8), blocks=2, dropout=0.2).train()
    (network(torch.rand(2, 1, 16, 16, 16)) ** 2).mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("size", [(16, 16, 16), (13, 18, 9)])
def test_script_and_trace_give_the_eager_logits(size):
    network, image = tiny(blocks=2, dropout=0.1), torch.rand(1, 1, *size)
    with torch.no_grad():
        eager = network(image)
        torch.testing.assert_close(torch.jit.script(network)(image), eager, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.jit.trace(network, image)(image), eager, atol=1e-5, rtol=1e-5)


def test_a_scripted_network_takes_other_sizes_too():
    network = tiny()
    scripted = torch.jit.script(network)
    with torch.no_grad():
        for size in ((8, 8, 8), (11, 7, 20)):
            image = torch.rand(1, 1, *size)
            torch.testing.assert_close(scripted(image), network(image), atol=1e-5, rtol=1e-5)


def test_one_image_of_a_batch_does_not_change_another():
    network, images = tiny(), torch.rand(3, 1, 10, 12, 14)
    with torch.no_grad():
        together = network(images)
        for i in range(3):
            torch.testing.assert_close(network(images[i : i + 1])[0], together[i], atol=1e-5, rtol=1e-5)


def test_the_same_image_gives_the_same_logits_twice():
    network, image = tiny(dropout=0.5), torch.rand(1, 1, 12, 12, 12)
    assert torch.equal(network(image), network(image))


def test_depth_to_space_is_the_inverse_of_space_to_depth():
    image = torch.rand(2, 3, 4, 6, 8)
    assert torch.equal(depth_to_space(space_to_depth(image)), image)
    features = torch.rand(2, 16, 3, 4, 5)
    assert torch.equal(space_to_depth(depth_to_space(features)), features)


def test_space_to_depth_keeps_each_block_of_2_x_2_x_2_voxels_together():
    image = torch.arange(64.0).reshape(1, 1, 4, 4, 4)
    block = space_to_depth(image)[0, :, 1, 0, 1]
    assert sorted(block.tolist()) == sorted(image[0, 0, 2:4, 0:2, 2:4].flatten().tolist())


@pytest.mark.parametrize(("channels", "classes"), [((32, 64, 128, 192), 2), ((24, 48, 96, 128), 3), ((32, 64, 128), 2)])
def test_it_is_light(channels, classes):
    network = LightUNet3d(out_channels=classes, channels=channels)
    assert 0.5e6 < sum(p.numel() for p in network.parameters()) < 6e6


def test_a_state_dict_goes_into_a_network_of_the_same_plan():
    one, other, image = tiny(), LightUNet3d(channels=(4, 6, 8)).eval(), torch.rand(1, 1, 8, 8, 8)
    other.load_state_dict(one.state_dict(), strict=True)
    assert torch.equal(one(image), other(image))


@pytest.mark.parametrize(("channels", "blocks"), [((4,), 1), ((4, 6), 1), ((4, 6, 8), 1), ((4, 6, 8), 2)])
def test_logits_depend_on_nothing_beyond_the_reach_and_on_what_lies_within(channels, blocks):
    torch.manual_seed(1)
    network = LightUNet3d(channels=channels, blocks=blocks).double().eval()
    cell = slice(3 * 32, 3 * 32 + network.multiple)
    image = torch.rand(1, 1, 16, 16, 224, dtype=torch.float64, requires_grad=True)
    network(image)[..., cell].pow(2).sum().backward()
    depends = torch.nonzero(image.grad[0, 0].abs().amax(dim=(0, 1)) > 0)
    below, above = cell.start - int(depends.min()), int(depends.max()) + 1 - cell.stop
    assert max(below, above) == network.reach_voxels
