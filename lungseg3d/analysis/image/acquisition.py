"""How a CT was taken, as far as it matters to a network; and whether a training has seen the like.

In: a CT, its lungs, the facts of its source. Out: `Acquisition`; ranges of many; `QualityIssue`s W_OOD_*.
Knows no network and no file format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from lungseg3d.core import Box, QualityIssue, Volume
from lungseg3d.core.labels import LEFT_LUNG, RIGHT_LUNG

_FACTOR = 1.1  # beyond the range by this factor is outside
_BLOOD_MARGIN_HU = 25.0
_LUNG_HU = (-970, -700)
_SOFT_HU = (-20, 500)
_LEAST_VOXELS = 200
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
# (name in the record, code, words, unit)
_SCALES = (
    ("in_plane_mm", "W_OOD_SPACING", "pixels", "mm"),
    ("slice_mm", "W_OOD_SPACING", "a slice distance", "mm"),
    ("noise_hu", "W_OOD_NOISE", "noise in the lungs", "HU"),
)


@dataclass(frozen=True)
class Acquisition:
    """What was measured of one CT.

    Attributes:
        in_plane_mm: distance of pixels in a slice, the larger one.
        slice_mm: distance of slices.
        noise_hu: standard deviation of the fine-grained noise in the lungs; None where there is too little lung.
        blood_hu: median of what is soft between the lungs, at the heart's height; about 40 HU without contrast agent;
            None without two lungs.
        kernel: `sharp`, `soft`, or empty where the source does not say.
    """

    in_plane_mm: float
    slice_mm: float
    noise_hu: float | None = None
    blood_hu: float | None = None
    kernel: str = ""


@dataclass(frozen=True)
class TrainingRange:
    """What the CTs of a training were like.

    Attributes:
        ranges: name of a number of `Acquisition` -> lowest, highest, and how many CTs told it.
        kernels: kind of kernel -> number of CTs.
        cases: CTs that were measured.
        working_mm: spacing of the network's grid: what is finer than that, the network does not see.
    """

    ranges: Mapping[str, tuple[float, float, int]] = field(default_factory=dict)
    kernels: Mapping[str, int] = field(default_factory=dict)
    cases: int = 0
    working_mm: float = 0.0

    @staticmethod
    def of(measured: Iterable[Acquisition], working_mm: float) -> TrainingRange:
        """The ranges of many CTs."""
        every = list(measured)
        ranges = {}
        for name in ("in_plane_mm", "slice_mm", "noise_hu", "blood_hu"):
            known = [float(value) for one in every if (value := getattr(one, name)) is not None]
            if known:
                ranges[name] = (round(min(known), 3), round(max(known), 3), len(known))
        kinds = [one.kernel for one in every if one.kernel]
        return TrainingRange(ranges, {kind: kinds.count(kind) for kind in sorted(set(kinds))}, len(every), working_mm)

    def issues(self, ct: Acquisition, bundle: str) -> list[QualityIssue]:
        """W_OOD_* for what of a CT lies outside; what was measured of no training CT is not judged.

        Args:
            ct: the CT to be judged.
            bundle: name of what was trained, for the message.
        """
        found: dict[str, list[str]] = {}
        for name, code, words, unit in _SCALES:
            value = getattr(ct, name)
            if value is None or name not in self.ranges:
                continue
            low, high, n = self.ranges[name]
            seen, least, most = (max(mm, self.working_mm) if unit == "mm" else mm for mm in (value, low, high))
            if seen > most * _FACTOR or seen < least / _FACTOR:
                text = f"{words} of {value:.3g} {unit}, trained on {low:.3g} to {high:.3g} {unit} ({_cts(n)})"
                found.setdefault(code, []).append(text)
        if ct.blood_hu is not None and "blood_hu" in self.ranges:
            low, high, n = self.ranges["blood_hu"]
            if not low - _BLOOD_MARGIN_HU <= ct.blood_hu <= high + _BLOOD_MARGIN_HU:
                text = f"{ct.blood_hu:.0f} HU between the lungs, trained on {low:.0f} to {high:.0f} HU ({_cts(n)})"
                found["W_OOD_CONTRAST"] = [text]
        # Where most CTs do not say their kernel, they may have had any.
        told = 2 * sum(self.kernels.values()) > self.cases
        if ct.kernel and told and ct.kernel not in self.kernels:
            kinds = ", ".join(f"{kind} ({_cts(n)})" for kind, n in self.kernels.items())
            found["W_OOD_KERNEL"] = [f"a {ct.kernel} kernel, trained on {kinds}"]
        way_out = "Results may be worse than the model card says; look at them with more care."
        return [QualityIssue(code, f"{bundle}: {'; '.join(texts)}.", way_out) for code, texts in found.items()]


def _cts(n: int) -> str:
    return "1 CT" if n == 1 else f"{n} CTs"


def range_json(found: TrainingRange) -> dict[str, Any]:
    """A range as JSON has it."""
    ranges = {name: {"low": low, "high": high, "cases": n} for name, (low, high, n) in found.ranges.items()}
    return {"cases": found.cases, "working_mm": found.working_mm, "ranges": ranges, "kernels": dict(found.kernels)}


def range_of_json(content: Mapping[str, Any]) -> TrainingRange:
    """The inverse of `range_json`.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    ranges = {
        str(name): (float(one["low"]), float(one["high"]), int(one["cases"])) for name, one in content["ranges"].items()
    }
    kernels = {str(kind): int(n) for kind, n in content["kernels"].items()}
    return TrainingRange(ranges, kernels, int(content["cases"]), float(content["working_mm"]))


def measure_acquisition(
    ct: Volume, slabs: Iterable[np.ndarray], labels: Volume | None, source: Mapping[str, Any]
) -> Acquisition:
    """How a CT was taken.

    Args:
        ct: HU on its own grid.
        slabs: axial slices of it at 1 mm, (X, Y), HU: the noise is measured in them.
        labels: lungs on the grid of the CT, 1 right, 2 left; None for a crop.
        source: facts of the reading; `kernel` and `lung_kernel` are looked at.
    """
    x, y, z = ct.as_ras().spacing_mm
    kernel = ("sharp" if source.get("lung_kernel") else "soft") if source.get("kernel") else ""
    blood_hu = None if labels is None else _blood_hu(ct, labels)
    return Acquisition(max(x, y), z, _noise_hu(slabs), blood_hu, kernel)


def _noise_hu(slabs: Iterable[np.ndarray]) -> float | None:
    """SD of noise in aerated lung (Immerkaer 1996, CVIU 64:300-302; by the median, so that edges do not count)."""
    rests = []
    for slab in slabs:
        values = np.asarray(slab, np.float32)
        lung = ndimage.binary_erosion((values > _LUNG_HU[0]) & (values < _LUNG_HU[1]), iterations=1)
        rests.append(np.abs(ndimage.convolve(values, _NOISE_KERNEL))[lung])
    rest = np.concatenate(rests) if rests else np.zeros(0)
    # The kernel makes white noise of 1 HU one of 6 HU; 0.6745 is the median of |z|.
    return float(np.median(rest)) / (6 * 0.6745) if rest.size >= _LEAST_VOXELS else None


def _blood_hu(ct: Volume, labels: Volume) -> float | None:
    """Median HU of what is soft between the two lungs, in their lower half, in front of the spine."""
    step = [max(1, round(3 / mm)) for mm in ct.as_ras().spacing_mm]
    every = tuple(slice(None, None, n) for n in step)
    hu, lungs = ct.as_ras().array[every], labels.as_ras().array[every]
    right, left = (lungs == lung.value for lung in (RIGHT_LUNG, LEFT_LUNG))
    box, other = Box.around(right), Box.around(left)
    if box is None or other is None:
        return None
    box = box.joined(other)
    (_, y0, z0), (_, y1, z1) = box.start, box.stop
    # X runs to the right: between the lungs is left of every right-lung voxel and right of every left-lung one.
    beyond_left = np.logical_or.accumulate(left, axis=0)
    before_right = np.logical_or.accumulate(right[::-1], axis=0)[::-1]
    between = beyond_left & before_right & (lungs == 0)
    front = slice(y0 + int(0.4 * (y1 - y0)), y1)
    heart = slice(z0 + int(0.2 * (z1 - z0)), z0 + int(0.6 * (z1 - z0)))
    values = hu[:, front, heart][between[:, front, heart]]
    soft = values[(values > _SOFT_HU[0]) & (values < _SOFT_HU[1])]
    return float(np.median(soft)) if soft.size >= _LEAST_VOXELS else None
