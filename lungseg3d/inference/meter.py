"""What networks are given to compute, and how long they take: counted while somebody asks.

In: predictors at work inside `metered`. Out: voxels and seconds of each network. Knows no FLOP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch

_METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


@dataclass
class NetworkWork:
    """What one network did.

    Attributes:
        network: the network.
        voxels: of all images that it was given.
        calls: how often it was called.
        seconds: wall time inside it, waiting for a GPU included.
    """

    network: torch.nn.Module
    voxels: int = 0
    calls: int = 0
    seconds: float = 0.0


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


def watched(
    predictor: Callable[[torch.Tensor], torch.Tensor], network: torch.nn.Module
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The predictor, counted where somebody asks; else itself."""
    meter = _METER.get()
    if meter is None:
        return predictor
    work = meter.of(network)

    def counted(images: torch.Tensor) -> torch.Tensor:
        begin = time.perf_counter()
        logits = predictor(images)
        if logits.is_cuda:
            torch.cuda.synchronize(logits.device)
        work.seconds += time.perf_counter() - begin
        work.voxels += images.numel()
        work.calls += 1
        return logits

    return counted
