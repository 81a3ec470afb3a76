"""Which of several CT series of a study is read, and why: the rule of choice.

In: series as planned from their headers. Out: `Choice`, with reasons in plain words. Where there are several, looks at
the pixels of some slices of each.

The rule, in this order: no problem in the headers; shows the lungs (by what is seen in some slices, else by the words
of the header); original before derived; long enough for lungs; thinnest (the larger of slice distance and thickness);
most slices; axial; lung kernel last; UID.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom_headers.body_parts import can_show_lungs
from lungseg3d.io.dicom_headers.kernels import is_lung_kernel
from lungseg3d.io.dicom_headers.records import DicomFile, Frame
from lungseg3d.io.dicom_pixels.lung_content import lung_ml
from lungseg3d.io.intake.geometry import Stack, orientation_name

Slice = tuple[DicomFile, Frame]
_LUNGS_ML, _CLEARLY_LUNGS_ML = 150.0, 600.0  # bowels hold some hundred ml of what looks like lung, at most
_MOST_OF_THE_LUNGS = 0.7
_CHEST_MM = 300.0
_MOST_NAMED = 3


@dataclass(frozen=True)
class SeriesPlan:
    """One series, ready to be decoded.

    Attributes:
        uid: SeriesInstanceUID.
        slices: file and frame of each place, sorted along the normal.
        repeats: (place, slice) of further slices at a place; their pixels must be equal.
        localizers: number of scouts left out.
        stack: geometry; None when `problem` is set.
        problem: why it cannot be read; None when the headers forbid nothing.
    """

    uid: str
    slices: tuple[Slice, ...]
    repeats: tuple[tuple[int, Slice], ...]
    localizers: int
    stack: Stack | None
    problem: IntakeError | None

    @property
    def step_mm(self) -> float:
        """From slice to slice; of a plan with a stack."""
        assert self.stack is not None
        return float(np.linalg.norm(self.stack.affine[:3, 2]))

    @property
    def length_mm(self) -> float:
        """From end to end; of a plan with a stack."""
        assert self.stack is not None
        return self.step_mm * self.stack.slices

    @property
    def thickness_mm(self) -> float:
        """The larger of slice distance and thickness; of a plan with a stack."""
        return max(self.step_mm, self.slices[0][1].thickness_mm or 0.0)

    @property
    def is_derived(self) -> bool:
        """By the first word of ImageType."""
        return any(frame.image_type[:1] == ("DERIVED",) for _, frame in self.slices)

    @property
    def parts(self) -> frozenset[str]:
        """Parts of the body that the header names, in any of its fields."""
        return frozenset().union(*self.slices[0][0].about["parts"].values()) if self.slices else frozenset()

    @property
    def named_with_lungs(self) -> bool | None:
        """Whether the header says that the series shows the lungs; the description counts where fields differ."""
        if not self.slices:
            return None
        said = {field: can_show_lungs(parts) for field, parts in self.slices[0][0].about["parts"].items()}
        answers = set(said.values()) - {None}
        return answers.pop() if len(answers) == 1 else said.get("SeriesDescription")


@dataclass(frozen=True)
class Choice:
    """The series to read; why it, and why not each of the others, by UID."""

    plan: SeriesPlan
    reason: str
    others: dict[str, str]

    def listed(self, plans: Sequence[SeriesPlan]) -> str:
        """The other series in words."""
        others = [plan for plan in plans if plan is not self.plan]
        named = [f"{p.uid} ({len(p.slices)} slices){self._why_not(p)}" for p in others[:_MOST_NAMED]]
        more = [f"and {len(others) - _MOST_NAMED} more"] if others[_MOST_NAMED:] else []
        return "; ".join(named + more)

    def _why_not(self, plan: SeriesPlan) -> str:
        return f": {self.others[plan.uid]}" if plan.uid in self.others else ""


@dataclass(frozen=True)
class _Evidence:
    """What speaks for lungs in each series, by UID: ml seen (None: not looked at, or unreadable) and the verdict."""

    seen_ml: dict[str, float | None]
    shows: dict[str, bool]
    by_content: bool


def choose_plan(plans: Sequence[SeriesPlan]) -> Choice:
    """The series to read of one study, the same whatever the order."""
    plans = sorted(plans, key=lambda plan: plan.uid)
    usable = [plan for plan in plans if plan.stack is not None]
    if not usable:
        best = max(plans, key=lambda plan: (plan.named_with_lungs is True, len(plan.slices), plan.uid))
        return Choice(best, "the one with most slices; none can be read", {p.uid: _problem_of(p) for p in plans})
    evidence = _evidence_of(usable)
    broken_chest = [plan for plan in plans if plan.stack is None and plan.named_with_lungs]
    if broken_chest and all(_is_elsewhere(plan, evidence) for plan in usable):
        best = max(broken_chest, key=lambda plan: (len(plan.slices), plan.uid))
        others = {p.uid: "shows no lungs" if p.stack is not None else _problem_of(p) for p in plans}
        return Choice(best, "by its header it is of the chest, and no other series shows lungs", others)
    showing = [plan for plan in usable if evidence.shows[plan.uid]]
    longest_mm = max(plan.length_mm for plan in showing)
    most_mm = 0.0 if evidence.by_content else 0.5 * min(longest_mm, _CHEST_MM)
    best = min(showing, key=lambda plan: [value for _, value in _criteria(plan, most_mm)])
    others = {p.uid: _why_not(p, best, evidence, most_mm) for p in plans if p is not best}
    return Choice(best, _reason(best, usable, showing, evidence), others)


def _criteria(plan: SeriesPlan, least_mm: float) -> list[tuple[str, object]]:
    """(what is said of a series that loses by it, value: less is better) in the order in which they count."""
    file, frame = plan.slices[0]
    return [
        ("derived images", plan.is_derived),
        (f"too short, {plan.length_mm:.0f} mm", plan.length_mm < least_mm),
        (f"thicker slices, {plan.thickness_mm:.2f} mm", round(plan.thickness_mm, 1)),
        ("fewer slices", -len(plan.slices)),
        ("not axial", orientation_name(frame.orientation) != "axial"),
        ("sharper kernel", is_lung_kernel(file.about["kernel"])),
        ("equal in all that counts, later UID", plan.uid),
    ]


def _evidence_of(plans: Sequence[SeriesPlan]) -> _Evidence:
    """Which of the series show the lungs; all of them where that does not tell them apart."""
    named = {plan.uid: plan.named_with_lungs for plan in plans}
    everyone = dict.fromkeys(named, True)
    if len(plans) == 1:
        return _Evidence(dict.fromkeys(named), everyone, False)
    seen = {plan.uid: lung_ml(plan.slices, plan.step_mm) for plan in plans}
    most = max((ml for ml in seen.values() if ml is not None), default=0.0)
    fullest = {uid for uid, ml in seen.items() if ml is not None and ml >= _MOST_OF_THE_LUNGS * most}
    is_gas = most < _CLEARLY_LUNGS_ML and all(named[uid] is False for uid in fullest) and True in named.values()
    if most >= _LUNGS_ML and not is_gas:
        unread = {uid for uid, ml in seen.items() if ml is None and named[uid]}
        return _Evidence(seen, {uid: uid in fullest | unread for uid in named}, True)
    for answers in ((True,), (True, None)):
        if chosen := {uid for uid, answer in named.items() if answer in answers}:
            return _Evidence(seen, {uid: uid in chosen for uid in named}, False)
    return _Evidence(seen, everyone, False)


def _is_elsewhere(plan: SeriesPlan, evidence: _Evidence) -> bool:
    """Whether a series surely shows another part of the body: its header says so, or it does not and none is seen."""
    seen = evidence.seen_ml[plan.uid]
    if seen is None:
        seen = lung_ml(plan.slices, plan.step_mm)
    return plan.named_with_lungs is not True and seen is not None and seen < _LUNGS_ML


def _problem_of(plan: SeriesPlan) -> str:
    return plan.problem.code if plan.problem is not None else "has no slices"


def _named(plan: SeriesPlan) -> str:
    """What the header says of the part of the body, as something to add."""
    return f"{' and '.join(sorted(plan.parts))} by its header" if plan.parts else ""


def _why_not(plan: SeriesPlan, best: SeriesPlan, evidence: _Evidence, least_mm: float) -> str:
    """Why a series is not the one that is read: the first criterion by which it loses."""
    if plan.stack is None:
        return _problem_of(plan)
    if not evidence.shows[plan.uid]:
        seen = evidence.seen_ml[plan.uid]
        what = "no lungs seen" if seen is None or seen < _LUNGS_ML else f"less lung, about {seen / 1000:.1f} l"
        return ", ".join(text for text in (_named(plan), what if evidence.by_content else "") if text) or what
    pairs = zip(_criteria(plan, least_mm), _criteria(best, least_mm), strict=True)
    return next(text for (text, value), (_, least) in pairs if value != least)


def _reason(best: SeriesPlan, usable: Sequence[SeriesPlan], showing: Sequence[SeriesPlan], evidence: _Evidence) -> str:
    """Why this series, in plain words."""
    parts = []
    if len(showing) < len(usable):
        seen = evidence.seen_ml[best.uid]
        by_content = evidence.by_content and seen is not None
        how = f"about {(seen or 0) / 1000:.1f} l seen in some of its slices" if by_content else "by its header"
        is_sure = by_content or best.named_with_lungs
        parts.append(f"it shows the lungs ({how})" if is_sure else "its header names no other part of the body")
    if len(showing) > 1:
        also = "of those that do, " if parts else ""
        text = f"{also}it has the thinnest slices ({best.thickness_mm:.2f} mm) or, where equal, the most, axial, softer"
        parts.append(f"{text}; short and derived series come after")
    return "; ".join(parts) or "the only one that can be read"
