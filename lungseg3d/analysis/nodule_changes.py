"""Nodules of two registered CTs -> what became of each: new, gone, grown, shrunk, stable, or not to be said.

In: two `TimePoint`s, their registration, days. Out: `core.NoduleChange`s, those that matter most first.
Knows no file and no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lungseg3d.analysis.matching import Match, match_nodules
from lungseg3d.analysis.nodules import classed
from lungseg3d.analysis.registration import LungRegistration
from lungseg3d.analysis.volume_change import doubling_time_days, volume_change, word_for
from lungseg3d.core import Change, Grid, Nodule, NoduleChange

_ORDER = (Change.GROWN, Change.NEW, Change.NOT_MEASURABLE, Change.SHRUNK, Change.GONE, Change.STABLE)
_RIM_MM = 5.0


@dataclass(frozen=True, eq=False)
class TimePoint:
    """What one CT gives to the comparison.

    Attributes:
        nodules: measured, each with the interval of its volume.
        grid: of the CT.
    """

    nodules: Sequence[Nodule]
    grid: Grid

    def shows(self, place_mm: np.ndarray) -> bool:
        """Whether a place (RAS, mm) lies in the CT, 5 mm and more from its border."""
        voxel = self.grid.to_voxel(place_mm)
        rim = _RIM_MM / np.array(self.grid.spacing_mm)
        return bool(np.all(voxel >= rim) and np.all(voxel <= np.array(self.grid.shape) - 1 - rim))

    def cuts(self, nodule: Nodule) -> bool:
        """Whether a nodule reaches the first or last slice, or the edge of the field."""
        reach = nodule.long_axis_mm / 2 / np.array(self.grid.spacing_mm)
        voxel = np.array(nodule.centroid_voxel)
        return bool(np.any(voxel - reach < 0) or np.any(voxel + reach > np.array(self.grid.shape) - 1))


def compare_nodules(
    prior: TimePoint, current: TimePoint, registration: LungRegistration, days: float | None
) -> tuple[NoduleChange, ...]:
    """What became of every nodule of two CTs.

    Args:
        prior, current: the CTs.
        registration: from the prior to the current one.
        days: between them, for doubling times; None = not known.

    Returns:
        Each nodule of either CT once, numbered: grown, new, not measurable, shrunk, gone, stable; larger ones first. A
        new one has the Lung-RADS category of what is new.
    """
    matching = match_nodules(prior.nodules, current.nodules, registration)
    changes = [_matched(match, prior, current, days) for match in matching.matches]
    for nodule in matching.only_prior:
        place = registration.to_current([nodule.centroid_ras_mm])[0]
        change, reason = _alone(Change.GONE, place, nodule, current)
        places = nodule.centroid_ras_mm, _triple(place)
        changes.append(NoduleChange(0, change, reason, nodule, None, *places))
    for nodule in matching.only_current:
        place = registration.to_prior([nodule.centroid_ras_mm])[0]
        change, reason = _alone(Change.NEW, place, nodule, prior)
        places = _triple(place), nodule.centroid_ras_mm
        there = classed(nodule, is_new=True) if change is Change.NEW else nodule
        changes.append(NoduleChange(0, change, reason, None, there, *places))
    changes.sort(key=lambda found: (_ORDER.index(found.change), -_largest_mm3(found)))
    return tuple(replace(change, id=number) for number, change in enumerate(changes, start=1))


def _matched(match: Match, prior: TimePoint, current: TimePoint, days: float | None) -> NoduleChange:
    estimate = volume_change(match.prior, match.current)
    change, reason = word_for(estimate)
    both = ("prior", prior, match.prior), ("current", current, match.current)
    cut = [name for name, time, nodule in both if time.cuts(nodule)]
    if cut:
        change, reason = Change.NOT_MEASURABLE, f"cut by the border of the {' and the '.join(cut)} CT"
    return NoduleChange(
        id=0,
        change=change,
        reason=reason,
        prior=match.prior,
        current=match.current,
        place_prior_ras_mm=match.prior.centroid_ras_mm,
        place_current_ras_mm=match.current.centroid_ras_mm,
        distance_mm=match.distance_mm,
        volume_change=estimate,
        doubling_time_days=doubling_time_days(estimate, days),
    )


def _alone(change: Change, place: np.ndarray, nodule: Nodule, other: TimePoint) -> tuple[Change, str]:
    """New or gone, unless the other CT does not show the place, or shows another nodule right there."""
    when = "prior" if change is Change.NEW else "current"
    if not other.shows(place):
        return Change.NOT_MEASURABLE, f"the {when} CT does not show its place"
    for there in other.nodules:
        if np.linalg.norm(place - there.centroid_ras_mm) < (there.long_axis_mm + nodule.long_axis_mm) / 2:
            return Change.NOT_MEASURABLE, f"where nodule {there.id} of the {when} CT lies: merged or parted?"
    return change, ""


def _largest_mm3(change: NoduleChange) -> float:
    return max(nodule.volume_mm3 for nodule in (change.prior, change.current) if nodule)


def _triple(point: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in point)
    return x, y, z
