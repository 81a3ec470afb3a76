"""Nodules of two CTs paired one to one: those that registration brings close enough together.

In: two lists of nodules and a registration. Out: pairs, and those without a partner. Knows no volume change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from lungseg3d.analysis.registration import LungRegistration
from lungseg3d.core import Nodule

_GATE_MM = {"CT": 6.0, "masks": 12.0}
_RIM_MM = {"CT": 4.0, "masks": 8.0}
_SIZE_WEIGHT = 0.15
_IMPOSSIBLE = 1e6


@dataclass(frozen=True)
class Match:
    """A nodule of the prior CT and one of the current one.

    Attributes:
        prior, current: the nodules.
        distance_mm: between the middle of `current` and where registration puts that of `prior`.
    """

    prior: Nodule
    current: Nodule
    distance_mm: float


@dataclass(frozen=True)
class Matching:
    """All nodules of both CTs, each once: pairs, and those without a partner."""

    matches: tuple[Match, ...]
    only_prior: tuple[Nodule, ...]
    only_current: tuple[Nodule, ...]


def gate_mm(prior: Nodule, current: Nodule, driven_by: str = "CT") -> float:
    """How far apart two nodules may lie and still be one.

    Error of the registration (6 mm with CTs, 12 mm by masks alone), and half the larger equivalent diameter, because
    the middle of a nodule moves when it grows to one side.
    """
    return _GATE_MM[driven_by] + max(prior.equivalent_diameter_mm, current.equivalent_diameter_mm) / 2


def rim_mm_of(driven_by: str) -> float:
    """How near to the edge of a field of view a place is too uncertain to be called covered: error of registration."""
    return _RIM_MM[driven_by]


def match_nodules(prior: Sequence[Nodule], current: Sequence[Nodule], registration: LungRegistration) -> Matching:
    """Pair nodules one to one so that as many as possible find a partner, and these lie nearest in all.

    Within the gate the cost of a pair is distance / gate + 0.15 |ln of the ratio of volumes|: of two neighbours at
    equal distance the one of like size is taken. Nodules known to lie in different lungs are never one. The best set
    of pairs is found by the Hungarian method (SciPy).
    """
    cost = np.full((len(prior), len(current)), _IMPOSSIBLE)
    expected = registration.to_current([nodule.centroid_ras_mm for nodule in prior]) if prior else np.empty((0, 3))
    apart_mm = np.zeros(cost.shape)
    for i, old in enumerate(prior):
        for j, new in enumerate(current):
            apart_mm[i, j] = np.linalg.norm(expected[i] - new.centroid_ras_mm)
            share = apart_mm[i, j] / gate_mm(old, new, registration.driven_by)
            if share <= 1 and {old.side, new.side} != {"left", "right"}:
                cost[i, j] = share + _SIZE_WEIGHT * abs(np.log(new.volume_mm3 / old.volume_mm3))
    pairs = [(i, j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] < _IMPOSSIBLE]
    paired = [set(column) for column in zip(*pairs, strict=True)] or [set(), set()]
    return Matching(
        matches=tuple(Match(prior[i], current[j], float(apart_mm[i, j])) for i, j in pairs),
        only_prior=tuple(nodule for i, nodule in enumerate(prior) if i not in paired[0]),
        only_current=tuple(nodule for j, nodule in enumerate(current) if j not in paired[1]),
    )
