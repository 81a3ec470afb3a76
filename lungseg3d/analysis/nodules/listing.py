"""Findings -> the list that a reader sees first, and the candidates behind it.

In: a CT, the findings on its grid, how sure each is, from which confidence a kind of nodule is listed, and what speaks
against a finding. Out: `Listing`. Nothing is lost: what is not listed keeps its mask and the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lungseg3d.analysis.nodules.candidates import NoduleMap
from lungseg3d.analysis.nodules.measure import SOLID_HU, kind_of
from lungseg3d.core import Box, Volume, boxes_by_value

BELOW_POINT = "below-point"
HILAR_VESSEL = "hilar-vessel"
"""An objection that counts only where the networks doubt: a nodule at the hilum lies against vessels, too."""
LARGE_GLASS, LARGE_GLASS_MM = "large-ground-glass", 10.0
"""Ground glass from this equivalent diameter on has a threshold of its own: few false findings look like it."""


@dataclass(frozen=True)
class Listing:
    """Findings of one CT in the order of the list, numbered from 1 on: first the nodules, behind them the candidates.

    Attributes:
        nodules: those that are listed.
        candidates: the others; their values count on behind those of the nodules.
        reasons: of each candidate, in order: keys of `core.CANDIDATE_REASONS`.
        order: the former value of each finding, in the new order.
    """

    nodules: NoduleMap
    candidates: NoduleMap
    reasons: tuple[str, ...]
    order: tuple[int, ...]

    @property
    def reason_of(self) -> dict[int, str]:
        """Value of a candidate -> why it is one."""
        return dict(enumerate(self.reasons, start=len(self.nodules.confidence) + 1))

    @property
    def confidence(self) -> tuple[float, ...]:
        """Of every finding, by value from 1 on."""
        return self.nodules.confidence + self.candidates.confidence

    def finding_map(self) -> Volume:
        """One map of nodules and candidates: findings are measured beside each other, whichever are listed."""
        if not self.candidates.boxes:
            return self.nodules.labels
        labels = self.nodules.labels.array.copy(order="K")
        for box in self.candidates.boxes:
            apart = self.candidates.labels.array[box.slices]
            np.copyto(labels[box.slices], apart, where=apart > 0)
        return self.nodules.labels.with_array(labels)


@dataclass(frozen=True)
class _Finding:
    """One finding as it came, and what decides on its place."""

    value: int
    box: Box
    confidence: float
    sure: float
    voxels: int
    reason: str


def list_findings(
    ct: Volume,
    found: NoduleMap,
    sure: Sequence[float] | None = None,
    least: Mapping[str, float] | None = None,
    objections: Sequence[str] = (),
    doubt: float = 0.5,
) -> Listing:
    """Number findings by how sure they are, then by size, and part those that are listed from the others.

    Args:
        ct: HU, on the grid of the findings.
        found: everything that was found; its array may be changed in place.
        sure: by what findings are ordered and cut, 0 to 1, by value from 1 on; None takes their confidence.
        least: kind of nodule (`listing_kind`) -> from what `sure` on it is listed; a kind that is absent always is.
        objections: by value from 1 on, what speaks against a finding whatever its confidence: a key of
            `core.CANDIDATE_REASONS`, empty where nothing does. None given: nothing speaks against any.
        doubt: an objection of `HILAR_VESSEL` counts where `sure` is below it: of findings as sure as this more were
            nodules than were none, whatever they touch.
    """
    valid = _valid_objections(found, sure, objections, doubt)
    findings = sorted(_findings(ct, found, sure, least or {}, valid), key=_rank)
    listed = [finding for finding in findings if not finding.reason]
    others = [finding for finding in findings if finding.reason]
    array = found.labels.array
    # Untouched pages of a map of zeros take no memory, so the second map costs what its findings cover.
    apart = np.zeros(array.shape, array.dtype, order="F" if array.flags.f_contiguous else "C")
    masks = [(f.box.slices, array[f.box.slices] == f.value) for f in (*listed, *others)]
    for number, (place, mask) in enumerate(masks, start=1):
        is_listed = number <= len(listed)
        (array if is_listed else apart)[place][mask] = number
        if not is_listed:
            array[place][mask] = 0
    return Listing(
        _map_of(found.labels, listed),
        _map_of(found.labels.with_array(apart), others),
        tuple(finding.reason for finding in others),
        tuple(finding.value for finding in (*listed, *others)),
    )


def listing_kind(kind: str, volume_mm3: float) -> str:
    """Whose threshold a finding has: its kind (`kind_of`), or `LARGE_GLASS`."""
    is_large = volume_mm3 >= np.pi / 6 * LARGE_GLASS_MM**3
    return LARGE_GLASS if kind == "ground-glass" and is_large else kind


def _valid_objections(
    found: NoduleMap, sure: Sequence[float] | None, objections: Sequence[str], doubt: float
) -> list[str]:
    sure = found.confidence if sure is None else sure
    return ["" if o == HILAR_VESSEL and s >= doubt else o for o, s in zip(objections, sure, strict=False)]


def _findings(
    ct: Volume,
    found: NoduleMap,
    sure: Sequence[float] | None,
    least: Mapping[str, float],
    objections: Sequence[str],
) -> list[_Finding]:
    boxes = dict(enumerate(found.boxes, start=1)) or boxes_by_value(found.labels.array)
    sure = found.confidence if sure is None else sure
    findings = []
    for value, box in boxes.items():
        mask = found.labels.array[box.slices] == value
        share = float((ct.array[box.slices][mask] > SOLID_HU).mean())
        kind = listing_kind(kind_of(share), float(mask.sum()) * ct.voxel_volume_mm3)
        is_sure = sure[value - 1] >= least.get(kind, 0.0)
        reason = (objections[value - 1] if objections else "") or ("" if is_sure else BELOW_POINT)
        findings.append(_Finding(value, box, found.confidence[value - 1], sure[value - 1], int(mask.sum()), reason))
    return findings


def _rank(finding: _Finding) -> tuple[float, int, int]:
    return -finding.sure, -finding.voxels, finding.value


def _map_of(labels: Volume, findings: Sequence[_Finding]) -> NoduleMap:
    return NoduleMap(labels, tuple(f.confidence for f in findings), tuple(f.box for f in findings))
