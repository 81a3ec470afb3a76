"""Nodules of two registered CTs -> what became of each: new, gone, grown, shrunk, stable, or why that cannot be said.

In: two `TimePoint`s, their registration, days. Out: `core.NoduleChange`s, those that matter most first.
Knows no file and no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lungseg3d.analysis.follow_up.density_there import DensityAt
from lungseg3d.analysis.follow_up.field_of_view import FieldOfView
from lungseg3d.analysis.follow_up.matching import Match, match_over_time, rim_mm_of
from lungseg3d.analysis.follow_up.registration import LungRegistration
from lungseg3d.analysis.follow_up.volume_change import doubling_time_days, volume_change, word_for
from lungseg3d.analysis.nodules.measure import classed
from lungseg3d.core import CANDIDATE_REASONS, Change, Estimate, Grid, Nodule, NoduleChange

_ORDER = (
    Change.GROWN,
    Change.NEW,
    Change.NOT_MEASURABLE,
    Change.NOT_DETERMINED,
    Change.SHRUNK,
    Change.GONE,
    Change.NOT_COVERED,
    Change.STABLE,
)
_CUT_APART_MM = 3.0
"""How far the middle of what is left of a nodule at the edge of a field of view may lie from the whole one's."""
_NOT_PAIRED = "the lungs of the two CTs do not fit together, so nodules were not paired"


@dataclass(frozen=True, eq=False)
class TimePoint:
    """What one CT gives to the comparison.

    Attributes:
        nodules: measured, each with the interval of its volume.
        grid: of the CT.
        view: what the CT covers; None = all of its grid.
        density: of the CT and at its findings; None where the CT is not at hand.
        candidates: what else was found there, each with its `reason`.
        was_searched: False where only places that a person named were outlined: what is absent may be there.
    """

    nodules: Sequence[Nodule]
    grid: Grid
    view: FieldOfView | None = None
    density: DensityAt | None = None
    candidates: Sequence[Nodule] = ()
    was_searched: bool = True

    def depth_mm(self, place_mm: np.ndarray | Sequence[float]) -> float:
        """How deep inside the field of view a place (RAS, mm) lies; negative outside."""
        return float((self.view or FieldOfView(self.grid)).depth_mm(np.asarray(place_mm, dtype=np.float64)))

    def cuts(self, nodule: Nodule) -> bool:
        """Whether a nodule reaches the first or last slice, or the edge of the field of view."""
        return self.depth_mm(nodule.centroid.ras_mm) < _radius_mm(nodule)


def compare_nodules(
    prior: TimePoint, current: TimePoint, registration: LungRegistration, days: float | None
) -> tuple[NoduleChange, ...]:
    """What became of every nodule of two CTs.

    Args:
        prior, current: the CTs.
        registration: from the prior to the current one.
        days: between them, for doubling times; None = not known.

    Returns:
        Each listed nodule of either CT once, numbered, those that matter most first, larger ones first among equals.
        One that the other CT has among its candidates is paired with that candidate, and its reason says so; what is a
        candidate in both CTs is left out. A new one has the Lung-RADS category of what is new. Where the registration
        does not fit, none is paired and all are `not-determined`.
    """
    if not registration.fit.is_good:
        return _numbered([*_undetermined(prior.nodules, True), *_undetermined(current.nodules, False)])
    matching = match_over_time(prior.nodules, current.nodules, registration, (prior.candidates, current.candidates))
    parted = [match for match in matching.matches if _is_parted_by_cut(match, prior, current)]
    changes = [_matched(match, prior, current, days) for match in matching.matches if match not in parted]
    for nodule in (*matching.only_prior, *(match.prior for match in parted if not match.prior.reason)):
        changes.append(_only_in_one(Change.GONE, nodule, prior, current, registration))
    for nodule in (*matching.only_current, *(match.current for match in parted if not match.current.reason)):
        changes.append(_only_in_one(Change.NEW, nodule, current, prior, registration))
    return _numbered(changes)


def _is_parted_by_cut(match: Match, prior: TimePoint, current: TimePoint) -> bool:
    """Whether a field of view shows too little of a nodule to say that it is the other one."""
    return match.distance_mm > _CUT_APART_MM and (prior.cuts(match.prior) or current.cuts(match.current))


def _only_in_one(
    change: Change, nodule: Nodule, own: TimePoint, other: TimePoint, registration: LungRegistration
) -> NoduleChange:
    """Judge a nodule without a partner: `change` (new or gone), or why neither can be said."""
    to_other = registration.to_prior if change is Change.NEW else registration.to_current
    place = to_other([nodule.centroid.ras_mm])[0]
    word, reason = _alone(change, place, nodule, own, other, rim_mm_of(registration.driven_by))
    if word is change and not other.was_searched:
        when = "prior" if change is Change.NEW else "current"
        word, reason = Change.NOT_DETERMINED, f"in the {when} CT only named places were outlined, and not this one"
    here, there = own.density, other.density
    if word is change and here and there and here.is_seen_in(nodule.id, there.ct, to_other):
        when = "prior" if change is Change.NEW else "current"
        word, reason = Change.NOT_DETERMINED, f"the {when} CT is as dense there, though no nodule was found in it"
    if change is Change.GONE:
        return NoduleChange(0, word, reason, nodule, None, nodule.centroid.ras_mm, _triple(place))
    found = classed(nodule, is_new=True) if word is Change.NEW else nodule
    return NoduleChange(0, word, reason, None, found, _triple(place), nodule.centroid.ras_mm)


def _numbered(changes: Sequence[NoduleChange]) -> tuple[NoduleChange, ...]:
    ordered = sorted(changes, key=lambda found: (_ORDER.index(found.change), -_largest_mm3(found)))
    return tuple(replace(change, id=number) for number, change in enumerate(ordered, start=1))


def _undetermined(nodules: Sequence[Nodule], is_prior: bool) -> list[NoduleChange]:
    """Each nodule by itself, with no place in the other CT."""
    changes = []
    for nodule in nodules:
        both = (nodule, None) if is_prior else (None, nodule)
        places = (nodule.centroid.ras_mm, None) if is_prior else (None, nodule.centroid.ras_mm)
        changes.append(NoduleChange(0, Change.NOT_DETERMINED, _NOT_PAIRED, *both, *places))
    return changes


def _matched(match: Match, prior: TimePoint, current: TimePoint, days: float | None) -> NoduleChange:
    estimate = volume_change(match.prior, match.current)
    change, reason = word_for(estimate)
    both = ("prior", prior, match.prior), ("current", current, match.current)
    cut = [name for name, time, nodule in both if time.cuts(nodule)]
    if cut:
        # A part of a nodule is no measure of it: its volume says where the field of view ends.
        text = f"cut off by the field of view of the {' and the '.join(cut)} CT"
        change, reason, estimate = Change.NOT_MEASURABLE, text, Estimate(None)
    said = [_candidate_text(name, nodule) for name, _, nodule in both if nodule.reason]
    return NoduleChange(
        id=0,
        change=change,
        reason="; ".join([*said, *([reason] if reason else [])]),
        prior=match.prior,
        current=match.current,
        place_prior_ras_mm=match.prior.centroid.ras_mm,
        place_current_ras_mm=match.current.centroid.ras_mm,
        distance_mm=match.distance_mm,
        volume_change=estimate,
        doubling_time_days=doubling_time_days(estimate, days),
    )


def _alone(
    change: Change, place: np.ndarray, nodule: Nodule, own: TimePoint, other: TimePoint, rim_mm: float
) -> tuple[Change, str]:
    """New or gone, unless a CT does not show the place or not all of it, or shows another nodule right there."""
    names = ("current", "prior") if change is Change.NEW else ("prior", "current")
    depth_mm = other.depth_mm(place)
    if depth_mm < 0:
        return Change.NOT_COVERED, f"not covered: the {names[1]} CT does not show its place"
    if depth_mm < _radius_mm(nodule) + rim_mm:
        return Change.NOT_COVERED, f"cut off by the field of view of the {names[1]} CT, or right at its edge"
    if own.cuts(nodule):
        return Change.NOT_COVERED, f"cut off by the field of view of the {names[0]} CT, which shows a part of it"
    for there in other.nodules:
        if np.linalg.norm(place - there.centroid.ras_mm) < (there.long_axis_mm + nodule.long_axis_mm) / 2:
            return Change.NOT_MEASURABLE, f"where nodule {there.id} of the {names[1]} CT lies: merged or parted?"
    for there in other.candidates:
        if np.linalg.norm(place - there.centroid.ras_mm) < there.diameters.equivalent_mm / 2:
            return Change.NOT_MEASURABLE, f"where candidate {there.id} of the {names[1]} CT lies: a part of it?"
    return change, ""


def _candidate_text(name: str, candidate: Nodule) -> str:
    """That a partner is a candidate, and how sure the networks were of it."""
    raw, calibrated = candidate.certainty.confidence, candidate.certainty.calibrated_confidence
    sure = raw if calibrated is None else calibrated
    known = "" if sure is None else f" of confidence {sure:.2f}"
    why = CANDIDATE_REASONS.get(candidate.reason, candidate.reason)
    return f"candidate {candidate.id} of the {name} CT{known}, not listed there: {why}"


def _radius_mm(nodule: Nodule) -> float:
    return max(nodule.long_axis_mm, nodule.diameters.equivalent_mm) / 2


def _largest_mm3(change: NoduleChange) -> float:
    return max(nodule.volume_mm3 for nodule in (change.prior, change.current) if nodule)


def _triple(point: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in point)
    return x, y, z
