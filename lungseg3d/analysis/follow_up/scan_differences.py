"""What differs between two scans so that nodules differ without growing: slices, pixels, kernel, tube voltage, noise.

In: the `source` and `grid` of two records, and how both CTs were taken (`Acquisition`). Out: `QualityIssue`s. Reads no
file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lungseg3d.analysis.image.acquisition import Acquisition
from lungseg3d.core import CaseResult, Grid, QualityIssue, Volume

"""Every code that a follow-up may add, and what it means."""

_WAY_OUT = "Compare CTs of one protocol where there are some; a change of volume may come from this alone."


def compare_scans(prior: CaseResult, current: CaseResult) -> list[QualityIssue]:
    """What the records of two CTs say differs between them."""
    issues = []
    sources = prior.source, current.source
    pixels, slices = zip(*(_sampling_mm(result) for result in (prior, current)), strict=True)
    if max(slices) > 1.2 * min(slices):
        issues.append(_issue("W_OTHER_SLICES", f"slices of {slices[0]:.2f} mm before, {slices[1]:.2f} mm now."))
    if max(pixels) > 4 / 3 * min(pixels):
        issues.append(_issue("W_OTHER_PIXELS", f"pixels of {pixels[0]:.2f} mm before, {pixels[1]:.2f} mm now."))
    kernels = [str(source.get("kernel") or "") for source in sources]
    if all(kernels) and kernels[0] != kernels[1]:
        issues.append(_issue("W_OTHER_KERNEL", f"kernel {kernels[0]} before, {kernels[1]} now."))
    voltages = [source.get("kvp") for source in sources]
    if all(voltages) and voltages[0] != voltages[1]:
        issues.append(_issue("W_OTHER_VOLTAGE", f"{voltages[0]:g} kV before, {voltages[1]:g} kV now."))
    if not all(kernels) or not all(source.get("slice_thickness_mm") for source in sources):
        issues.append(QualityIssue("W_UNKNOWN_SCAN", "kernel or slice thickness is not stated by both CTs."))
    if _how(prior) != _how(current):
        text = "the CTs were segmented with different weights or options."
        issues.append(QualityIssue("W_OTHER_PROGRAM", text, "Segment both in the same way."))
    return issues


def are_one_ct(prior: Volume, current: Volume) -> bool:
    """Whether two CTs have the same voxels, in whatever order and place their files hold them.

    Values may differ by 1 HU, as formats round. Two scans never agree so: their noise alone is many times as large.
    """
    first, second = prior.as_ras().array, current.as_ras().array
    if first.shape != second.shape:
        return False
    # Plane by plane, so that two scans are told apart by the first one.
    return all(np.abs(a.astype(np.int32) - b).max() <= 1 for a, b in zip(first.T, second.T, strict=True))


def compare_noise(prior: Acquisition, current: Acquisition) -> list[QualityIssue]:
    """A flag where one CT is at least 1.5 times as noisy in the lungs; where there is too little lung, none."""
    before, now = prior.noise_hu or 0.0, current.noise_hu or 0.0
    if min(before, now) <= 0 or max(before, now) < 1.5 * min(before, now):
        return []
    text = f"noise of {before:.0f} HU in the lungs before, {now:.0f} HU now: another dose or kernel."
    return [_issue("W_OTHER_NOISE", text)]


def _sampling_mm(result: CaseResult) -> tuple[float, float]:
    """Side of a pixel, and thickness of a slice: as stated, or the slices' distance where that is larger."""
    grid = Grid(tuple(result.grid["shape"]), np.array(result.grid["affine_ras"]))
    across, along, upward = (grid.spacing_mm[axis] for axis in grid.ras_axes[0])
    return min(across, along), max(upward, float(result.source.get("slice_thickness_mm") or 0))


def _how(result: CaseResult) -> Any:
    bundles = result.provenance.get("bundles", {})
    return {role: facts.get("weights_sha256") for role, facts in bundles.items()}


def _issue(code: str, text: str) -> QualityIssue:
    return QualityIssue(code, text, _WAY_OUT)
