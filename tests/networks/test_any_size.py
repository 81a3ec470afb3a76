"""AnySize3d pads, cuts back and orders, and changes no number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lungseg3d.networks import AnySize3d


class Echo(nn.Module):
    """Gives its image back; refuses what is no multiple of 8 or below 16."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        for side in (image.shape[2], image.shape[3], image.shape[4]):
            assert side % 8 == 0
            assert side >= 16
        return torch.cat([image, -image], dim=1)


class Heads(nn.Module):
    """Several outputs, told apart by what they add."""

    def __init__(self, stacked: bool) -> None:
        super().__init__()
        self.stacked = stacked

    def forward(self, image: torch.Tensor):
        heads = [image, image + 1, image + 2]
        return torch.stack(heads, dim=1) if self.stacked else heads


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 9, 24), (1, 2, 33)])
def test_a_network_sees_its_multiple_and_the_image_keeps_its_size_and_numbers(size):
    network, image = AnySize3d(Echo(), multiple=8, minimum=16), torch.rand(2, 1, *size)
    for run in (network, torch.jit.script(network)):
        assert torch.equal(run(image), torch.cat([image, -image], dim=1))


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize(("main", "added"), [(0, (0, 1, 2)), (-1, (2, 1, 0))])
def test_in_training_the_main_output_comes_first_and_the_extras_follow(stacked, main, added):
    network, image = AnySize3d(Heads(stacked), multiple=4, main=main).train(), torch.rand(1, 1, 5, 6, 7)
    outputs = network(image)
    assert isinstance(outputs, tuple)
    for output, add in zip(outputs, added, strict=True):
        assert torch.equal(output, image + add)
    assert torch.equal(network.eval()(image), image + added[0])


def test_an_output_in_the_middle_cannot_be_the_main_one():
    with pytest.raises(ValueError, match="main is 1"):
        AnySize3d(Echo(), multiple=8, main=1)
