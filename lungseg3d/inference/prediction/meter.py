"""What networks are given to compute, and how long they take: counted while somebody asks.

In: predictors at work inside `metered`. Out: images and seconds of each network. Knows no FLOP.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

import torch

from lungseg3d.core import Box


class Predictor(Protocol):
    """A network at work."""

    def __call__(self, images: torch.Tensor, part: Box | None = None) -> torch.Tensor:
        """Images (B, 1, X, Y, Z) float32 on any device -> logits (B, C, x, y, z) float32 on the network's device.

        Args:
            images: of one size.
            part: what of each image is wanted, the same logits as in the whole; None wants all.
        """


_METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


@dataclass
class NetworkWork:
    """What one network did.

    Attributes:
        network: the network.
        images: how often it was given images of this shape (B, 1, X, Y, Z), and asked for this part of them.
        seconds: wall time inside it, waiting for a GPU included.
    """

    network: torch.nn.Module
    images: Counter[tuple[tuple[int, ...], Box | None]] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def voxels(self) -> int:
        """Of all images that it was given."""
        return sum(math.prod(shape) * count for (shape, _), count in self.images.items())

    @property
    def calls(self) -> int:
        """How often it was called."""
        return self.images.total()


@dataclass
class Meter:
    """The work of every network that ran, in the order in which they first ran."""

    works: list[NetworkWork] = field(default_factory=list)

    def of(self, network: torch.nn.Module) -> NetworkWork:
        """The entry of a network, made when it is new."""
        for work in self.works:
            if work.network is network:
                return work
        self.works.append(NetworkWork(network))
        return self.works[-1]


@contextmanager
def metered() -> Iterator[Meter]:
    """Count what networks do inside the block."""
    meter = Meter()
    token = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(token)


def watched(predictor: Predictor, network: torch.nn.Module) -> Predictor:
    """The predictor, counted where somebody asks; else itself."""
    meter = _METER.get()
    if meter is None:
        return predictor
    work = meter.of(network)

    def counted(images: torch.Tensor, part: Box | None = None) -> torch.Tensor:
        begin = time.perf_counter()
        logits = predictor(images, part)
        if logits.is_cuda:
            torch.cuda.synchronize(logits.device)
        work.seconds += time.perf_counter() - begin
        work.images[tuple(images.shape), part] += 1
        return logits

    return counted
