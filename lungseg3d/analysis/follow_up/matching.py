"""Nodules of two CTs paired one to one: those that registration brings close enough together.

In: two lists of nodules, the candidates behind each, and a registration. Out: pairs, and listed nodules without a
partner. Knows no volume change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from lungseg3d.analysis.follow_up.registration import LungRegistration
from lungseg3d.core import Nodule

_GATE_MM = {"CT": 6.0, "masks": 12.0}
_RIM_MM = {"CT": 4.0, "masks": 8.0}
_CANDIDATE_GATE_MM = {"CT": 3.0, "masks": 6.0}
_SIZE_WEIGHT = 0.15
_IMPOSSIBLE = 1e6


@dataclass(frozen=True)
class Match:
    """A nodule of the prior CT and one of the current one; one of both may be a candidate (it has a `reason`).

    Attributes:
        prior, current: the findings.
        distance_mm: between the middle of `current` and where registration puts that of `prior`.
    """

    prior: Nodule
    current: Nodule
    distance_mm: float


@dataclass(frozen=True)
class Matching:
    """All listed nodules of both CTs, each once: pairs, and those without a partner; candidates in pairs alone."""

    matches: tuple[Match, ...]
    only_prior: tuple[Nodule, ...]
    only_current: tuple[Nodule, ...]


def gate_mm(prior: Nodule, current: Nodule, driven_by: str = "CT") -> float:
    """How far apart two nodules may lie and still be one.

    Error of the registration (6 mm with CTs, 12 mm by masks alone), and half the larger equivalent diameter, because
    the middle of a nodule moves when it grows to one side.
    """
    return _GATE_MM[driven_by] + max(prior.diameters.equivalent_mm, current.diameters.equivalent_mm) / 2


def rim_mm_of(driven_by: str) -> float:
    """How near to the edge of a field of view a place is too uncertain to be called covered: error of registration."""
    return _RIM_MM[driven_by]


def candidate_gate_mm(nodule: Nodule, driven_by: str = "CT") -> float:
    """How far from a listed nodule a candidate of the other CT may lie and still be that nodule.

    Less than between two listed nodules, and by the nodule's own size alone: a candidate is most often no nodule, and
    a large one, such as a vessel of the hilum, must not hide that a nodule beside it is new.
    """
    return _CANDIDATE_GATE_MM[driven_by] + nodule.diameters.equivalent_mm / 2


def match_over_time(
    prior: Sequence[Nodule],
    current: Sequence[Nodule],
    registration: LungRegistration,
    candidates: tuple[Sequence[Nodule], Sequence[Nodule]] = ((), ()),
) -> Matching:
    """Pair nodules one to one so that as many as possible find a partner, and these lie nearest in all.

    Listed nodules are paired with one another first; those without a partner then with candidates of the other CT.
    Within the gate the cost of a pair is distance / gate + 0.15 |ln of the ratio of volumes|: of two neighbours at
    equal distance the one of like size is taken. Nodules known to lie in different lungs are never one. The best set
    of pairs is found by the Hungarian method (SciPy).

    Args:
        prior, current: listed nodules.
        registration: from the prior to the current CT.
        candidates: of the prior and of the current CT; two of them are never a pair.
    """
    driven_by = registration.driven_by
    both = _paired(prior, current, registration, lambda old, new: gate_mm(old, new, driven_by))
    left = _without([match.prior for match in both], prior), _without([match.current for match in both], current)
    gone = _paired(left[0], candidates[1], registration, lambda old, _: candidate_gate_mm(old, driven_by))
    new = _paired(candidates[0], left[1], registration, lambda _, nodule: candidate_gate_mm(nodule, driven_by))
    return Matching(
        matches=(*both, *gone, *new),
        only_prior=_without([match.prior for match in gone], left[0]),
        only_current=_without([match.current for match in new], left[1]),
    )


def _paired(
    prior: Sequence[Nodule],
    current: Sequence[Nodule],
    registration: LungRegistration,
    gate: Callable[[Nodule, Nodule], float],
) -> list[Match]:
    """The best pairs of two lists, by the number in the first one."""
    cost = np.full((len(prior), len(current)), _IMPOSSIBLE)
    expected = registration.to_current([nodule.centroid.ras_mm for nodule in prior]) if prior else np.empty((0, 3))
    apart_mm = np.zeros(cost.shape)
    for i, old in enumerate(prior):
        for j, new in enumerate(current):
            apart_mm[i, j] = np.linalg.norm(expected[i] - new.centroid.ras_mm)
            share = apart_mm[i, j] / gate(old, new)
            if share <= 1 and {old.side, new.side} != {"left", "right"}:
                cost[i, j] = share + _SIZE_WEIGHT * abs(np.log(new.volume_mm3 / old.volume_mm3))
    pairs = [(i, j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] < _IMPOSSIBLE]
    return [Match(prior[i], current[j], float(apart_mm[i, j])) for i, j in pairs]


def _without(paired: Sequence[Nodule], nodules: Sequence[Nodule]) -> tuple[Nodule, ...]:
    taken = {id(nodule) for nodule in paired}
    return tuple(nodule for nodule in nodules if id(nodule) not in taken)
