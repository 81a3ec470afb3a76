"""What a segmentation costs, step by step, and how near its networks come to what the machine can do.

In: `profiled()` around any `segment_cases`. Out: `Profile`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from lungseg3d.core.stopwatch import StepCost, recorded_steps
from lungseg3d.inference import Meter, metered
from lungseg3d.networks.cost import GFLOP_SIDE, gflop_of_part
from lungseg3d.tensors import ceiling_gflops, obstacle_to


@dataclass(frozen=True)
class NetworkCost:
    """What one network did.

    Attributes:
        name: its class.
        calls: how often it was called.
        windows: voxels that it was given, in windows of 96 x 96 x 96.
        seconds: by the clock, inside the network.
        gflops: GFLOP/s, multiplications and additions counted apart.
    """

    name: str
    calls: int
    windows: float
    seconds: float
    gflops: float


@dataclass
class Profile:
    """What ran inside `profiled`; complete when the block has ended."""

    steps: list[StepCost] = field(default_factory=list)
    networks: list[NetworkCost] = field(default_factory=list)


@contextmanager
def profiled() -> Iterator[Profile]:
    """Record steps and networks of all that is segmented inside the block."""
    profile = Profile()
    with recorded_steps() as steps, metered() as meter:
        yield profile
    profile.steps += _added_up(steps)
    profile.networks += _networks(meter)


def ceiling_of(profile: Profile, precision: str, device: torch.device | str) -> float | None:
    """The most GFLOP/s that this machine reached with the same number of threads in the same precision.

    In products of large matrices and a large convolution, measured now, see `lungseg3d.tensors.ceiling_gflops`; or in
    these networks, when other programs have more of the machine now than they had then. So no network lies above.

    Returns:
        None where PyTorch does not compute in this precision here, so that there is nothing to measure.
    """
    if obstacle_to("torch", precision, device):
        return None
    return max([ceiling_gflops(precision, device), *(network.gflops for network in profile.networks)])


def _added_up(steps: list[StepCost]) -> list[StepCost]:
    """One entry a name, in the order of first appearance."""
    names = dict.fromkeys(step.name for step in steps)
    alike = {name: [step for step in steps if step.name == name] for name in names}
    return [
        StepCost(name, sum(s.wall_s for s in same), sum(s.cpu_s for s in same), max(s.peak_mib for s in same))
        for name, same in alike.items()
    ]


def _networks(meter: Meter) -> list[NetworkCost]:
    costs = []
    for work in meter.works:
        # On the meta device nothing is computed, only counted.
        network = copy.deepcopy(work.network).to("meta")
        gflop = sum(gflop_of_part(network, shape, part) * count for (shape, part), count in work.images.items())
        windows = work.voxels / GFLOP_SIDE**3
        gflops = gflop / work.seconds if work.seconds else 0.0
        costs.append(NetworkCost(type(work.network).__name__, work.calls, windows, work.seconds, gflops))
    return costs
