"""What a network costs, whatever the machine: operations of a forward pass.

In: a network. Out: GFLOP. Knows no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lungseg3d.core import Box

GFLOP_SIDE = 96
"""Side in voxels of the cube whose forward pass is counted, here and in every table of the project."""


def gflop_of(network: torch.nn.Module, device: torch.device, side: int = GFLOP_SIDE) -> float | None:
    """GFLOP of one forward pass of a cube of `side` voxels; None where there is not enough memory for it.

    Multiplications and additions of convolutions, matrix products and attention, as `torch.utils.flop_counter` knows.
    """
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 1, side, side, side, device=device))
    except (torch.OutOfMemoryError, MemoryError):
        return None
    gflops: float = counter.get_total_flops() / 1e9
    return gflops


def gflop_of_part(network: torch.nn.Module, shape: Sequence[int], part: Box | None) -> float:
    """GFLOP of a part of the logits of images (B, C, X, Y, Z) by a network on the meta device, computing nothing."""
    from torch.utils.flop_counter import FlopCounterMode

    images = torch.zeros(*shape, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        offers: Any = network
        if part is not None and hasattr(offers, "part") and offers.has_part(shape):
            offers.part(images, part)
        else:
            network(images)
    gflops: float = counter.get_total_flops() / 1e9
    return gflops
