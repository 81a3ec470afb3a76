"""A part of the logits is the part of the logits, wherever the box lies and however deep the network is."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lungseg3d.core import Box
from lungseg3d.networks import CentredUNet3d, LightUNet3d

WHOLE = (48, 32, 32)


def tiny(channels=(4, 6, 8), **options) -> LightUNet3d:
    torch.manual_seed(0)
    network = LightUNet3d(channels=channels, **options)
    with torch.no_grad():
        network.train()(torch.rand(2, 1, 32, 32, 32))
    return network.eval()


@pytest.mark.parametrize(
    "box",
    [
        Box((20, 12, 13), (26, 20, 19)),
        Box((19, 11, 15), (20, 12, 16)),
        Box((0, 0, 0), (5, 7, 3)),
        Box((43, 25, 31), WHOLE),
        Box((0, 0, 0), WHOLE),
    ],
)
@pytest.mark.parametrize("options", [{}, {"blocks": 2, "out_channels": 3}, {"channels": (4, 6, 8, 8)}])
def test_logits_of_a_box_are_those_of_the_whole_image(box, options):
    network, image = tiny(**options), torch.rand(2, 1, *WHOLE)
    with torch.no_grad():
        whole, part = network(image), network.part(image, box)
    assert part.shape == (2, network.out_channels, *box.shape)
    torch.testing.assert_close(part, whole[(..., *box.slices)], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("box", [Box((0, 0, 0), (176, 16, 16)), Box((3, 2, 1), (170, 15, 16))])
@pytest.mark.parametrize("options", [{}, {"blocks": 2}])
def test_a_large_box_in_slabs_is_that_of_the_whole_image_too(box, options):
    network, image = tiny(**options), torch.rand(1, 1, 176, 16, 16)
    seen = []
    network.head.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0].shape[2]))
    with torch.no_grad():
        part, slabs = network.part(image, box), len(seen)
        whole = network(image)
    assert slabs == 3
    torch.testing.assert_close(part, whole[(..., *box.slices)], atol=2e-5, rtol=1e-5)


def test_a_small_box_costs_less_than_half():
    network = LightUNet3d(channels=(32, 64, 128)).eval().to("meta")
    image = torch.zeros(1, 1, 64, 64, 64, device="meta")
    flops = []
    with torch.no_grad():
        for work in (network, lambda x: network.part(x, Box((27, 27, 27), (37, 37, 37)))):
            with FlopCounterMode(display=False) as counter:
                work(image)
            flops.append(counter.get_total_flops())
    assert flops[1] < 0.45 * flops[0]


def test_whole_blocks_of_a_network_with_a_decoder_have_parts():
    assert tiny().has_part((1, 1, 16, 24, 8))
    assert not tiny().has_part((1, 1, 16, 20, 8))
    assert not tiny(channels=(4,)).has_part((1, 1, 16, 16, 16))


def test_a_network_told_where_the_middle_is_says_the_same_of_a_part():
    torch.manual_seed(0)
    network = CentredUNet3d(channels=(4, 6, 8)).eval()
    image, box = torch.rand(2, 1, 32, 32, 32), Box((12, 12, 13), (20, 21, 19))
    assert network.has_part(image.shape)
    with torch.no_grad():
        whole, part = network(image), network.part(image, box)
    torch.testing.assert_close(part, whole[(..., *box.slices)], atol=2e-5, rtol=1e-5)
