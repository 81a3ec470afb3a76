"""Are these numbers HU? Padding, missing offset, NaN, floats: decided here for every format.

In: an array of stored or scaled values. Out: int16 HU, or a refusal E_NOT_HOUNSFIELD / E_NONFINITE.
Knows no file format and no geometry.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lungseg3d.io.intake.reading import Findings, ReadOptions, refuse

AIR_HU = -1000
PADDING = np.int16(-32768)
"""Marks padding voxels until `finish_hounsfield` turns them into air."""
# From here down no tissue, no air and no noise of air lies: what is there fills the image outside the reconstruction
# circle (-2000, -2048, -3024 are common).
_PADDING_FROM_HU = -1500
# Padding that went through a lossy codec, an interpolation or a filter is spread over many values, also upward.
_SPREAD_FROM_HU = -1250
_PADDING_SHARE = 0.01
_AIR_AND_LUNG_HU, _NO_AIR_HU, _SOFT_TISSUE_HU = (-1150, -600), (-1450, -1150), (-150, 100)
_LEAST_AIR_AND_LUNG, _LEAST_SOFT_TISSUE, _MOST_IN_BODY = 0.03, 0.1, 0.05
_MOST_PLANES = 64
_OFFSET = 1024
_TISSUE_ABOVE_HU = -300
_ENCLOSED_SHARE = 0.1


def to_int16(
    array: np.ndarray, slope: float, intercept: float, name: str, findings: Findings, up_axis: int = 2
) -> np.ndarray:
    """Stored values (X, Y, Z) of any number type -> HU as int16 in Fortran order, fractions rounded.

    `up_axis` is the axis of the array that runs nearest to head-foot.

    Raises:
        IntakeError: E_NONFINITE for Inf, or NaN inside the body; E_NOT_HOUNSFIELD when int16 cannot hold the values.
    """
    scaled = (slope, intercept) != (1.0, 0.0)
    if array.dtype.kind == "f" or scaled:
        kind = np.float64 if array.dtype.itemsize > 2 else np.float32
    hu = np.empty(array.shape, np.int16, order="F")
    missing = None
    for k in range(array.shape[2]):  # slice by slice: a float64 copy of a whole CT is 4 times the CT
        part = array[:, :, k]
        if array.dtype.kind == "f" or scaled:
            part = part.astype(kind) * slope + intercept if scaled else part
            finite = np.isfinite(part)
            if not finite.all():
                if missing is None:
                    missing = np.zeros(array.shape, bool, order="F")
                missing[:, :, k] = ~finite
                if np.isinf(part).any():
                    _refuse_nonfinite(name, missing, "infinite values")
                part = np.where(finite, part, AIR_HU)
            part = np.rint(part)
        low, high = part.min(), part.max()
        if low < -32768 or high > 32767:
            refuse(
                "E_NOT_HOUNSFIELD",
                f"{name}: values {low:g}..{high:g} on plane {k} of the last axis do not fit HU in 16 bits.",
                "Export the CT in Hounsfield units.",
            )
        hu[:, :, k] = part
    if missing is not None:
        _replace_missing(hu, missing, up_axis, name, findings)
    return hu


def _replace_missing(hu: np.ndarray, missing: np.ndarray, up_axis: int, name: str, findings: Findings) -> None:
    """NaN around the patient becomes air; anywhere else it is refused.

    NaN lies around the patient when all of it hangs together with the border, no axial slice is lost, and little of it
    has tissue on two opposite sides in its slice (some has: the gap between arm and chest).
    """
    parts, count = ndimage.label(missing)
    border = np.zeros(missing.shape, bool)
    border[[0, -1]] = border[:, [0, -1]] = border[:, :, [0, -1]] = True
    touching = np.unique(parts[border & missing])
    enclosed = 0
    whole_slice = False
    for values, gone in zip(np.moveaxis(hu, up_axis, 0), np.moveaxis(missing, up_axis, 0), strict=True):
        whole_slice |= bool(gone.all())
        enclosed += int((gone & _between(values > _TISSUE_ABOVE_HU)).sum())
    if len(touching) < count or whole_slice or enclosed > _ENCLOSED_SHARE * missing.sum():
        _refuse_nonfinite(name, missing, "NaN inside the body")
    hu[missing] = AIR_HU
    findings.warn("W_NONFINITE_REPLACED", f"{name}: {int(missing.sum())} NaN voxels around the patient set to -1000.")


def _between(tissue: np.ndarray) -> np.ndarray:
    """Pixels of a slice that have tissue on both sides along its rows or along its columns."""
    between = np.zeros(tissue.shape, bool)
    for axis in (0, 1):
        before = np.logical_or.accumulate(tissue, axis)
        after = np.flip(np.logical_or.accumulate(np.flip(tissue, axis), axis), axis)
        between |= before & after
    return between


def _refuse_nonfinite(name: str, missing: np.ndarray, what: str) -> None:
    where = [np.flatnonzero(missing.any(axis=tuple(b for b in range(3) if b != axis))) for axis in range(3)]
    box = ", ".join(f"{found[0]}..{found[-1]}" for found in where)
    refuse(
        "E_NONFINITE",
        f"{name}: {what} in {100 * missing.mean():.3g} % of the voxels, at [{box}].",
        "Write the CT again from its source.",
    )


def finish_hounsfield(
    hu: np.ndarray, name: str, findings: Findings, options: ReadOptions, *, declared: bool = False
) -> None:
    """Check in place that int16 values are HU, and turn padding into air (-1000 HU).

    Args:
        hu: int16, 3 axes, changed in place; `PADDING` marks known padding.
        name: for messages.
        findings: takes warnings.
        options: `fix_offset` subtracts 1024 where it is missing.
        declared: a CT object whose header declares HU (DICOM): only the clear sign of a missing offset is refused.

    Raises:
        IntakeError: E_NOT_HOUNSFIELD with the values found.
    """
    counts = _histogram(hu)
    trouble = _trouble(hu, counts, declared)
    if trouble and options.fix_offset and trouble[0] == "offset":
        hu[hu != PADDING] -= _OFFSET
        findings.warn("W_OFFSET_FIXED", f"{name}: 1024 subtracted from all values, as --fix-offset asks.")
        counts = _histogram(hu)
        trouble = _trouble(hu, counts, declared)
    if trouble and trouble[0] == "unusual":
        findings.warn("W_UNUSUAL_HU", f"{name}: {trouble[1]}", "Look at the images before trusting the result.")
    elif trouble:
        remedy = "Export the CT in Hounsfield units" + (
            "[, or pass --fix-offset to subtract 1024]." if trouble[0] == "offset" else "."
        )
        refuse("E_NOT_HOUNSFIELD", f"{name}: {trouble[1]}", remedy)
    most = _padding_up_to(counts)
    for plane in _planes(hu):
        low = plane <= most
        if low.any():
            plane[low] = AIR_HU


def _planes(hu: np.ndarray) -> np.ndarray:
    """The array with the axis first along which its planes lie together in memory."""
    return np.moveaxis(hu, int(np.argmax(hu.strides)), 0)


def _histogram(hu: np.ndarray) -> np.ndarray:
    """How often each value from -32768 on occurs; `PADDING` is not counted."""
    step = 3 if hu.size > 4_000_000 else 1  # every third row and column is plenty for shares
    counts = np.zeros(65536, np.int64)
    for plane in _planes(hu):
        sample = plane[::step, ::step].astype(np.int64) + 32768
        counts += np.bincount(sample.ravel(), minlength=65536)
    counts[0] = 0
    return counts


def _trouble(hu: np.ndarray, counts: np.ndarray, declared: bool) -> tuple[str, str] | None:
    """What speaks against HU, as (kind, text); None when nothing does."""
    first = _padding_up_to(counts) + 1
    present = np.arange(first, 32768)[counts[first + 32768 :] > 0]
    if present.size < 2:
        return "constant", "all voxels have one value" + (f", {present[0]}." if present.size else ", or none is valid.")
    low, high = int(present[0]), int(present[-1])
    span = f"values {low}..{high}"
    total = counts.sum()
    if _is_spread(counts) and not _is_around_a_body(hu, counts):
        share = 100 * _share(counts, -32768, _PADDING_FROM_HU) / total
        return "scale", f"{share:.0f} % of the values spread below -1500: was the rescale applied twice?"
    looks_shifted = low > -200 and _share(counts, -100, 100) > 0.05 * total and _share(counts, 924, 1224) > 0.02 * total
    if declared:
        if looks_shifted:
            return "offset", f"{span}: is the rescale intercept missing?"
        if low > -500 or high < -200:
            return "unusual", f"{span}: a chest CT has air (-1000 HU) and tissue (0 HU)."
        return None
    if low > -500:
        # Only where air and tissue are there once 1024 is subtracted: else that option would be refused, too.
        if -200 < low <= _OFFSET - 500 and high >= _OFFSET - 200:
            return "offset", f"{span}: is the rescale missing? Air is -1000 HU."
        return "scale", f"{span}: no air (-1000 HU), so these are not Hounsfield units."
    if high < -200:
        return "scale", f"{span}: no tissue (0 HU), so these are not Hounsfield units."
    return None


def _padding_up_to(counts: np.ndarray) -> int:
    """The highest value that is padding, where these are HU."""
    return _SPREAD_FROM_HU if _is_spread(counts) else _PADDING_FROM_HU


def _is_spread(counts: np.ndarray) -> bool:
    """Whether what lies too low for air is a good part of the values, and more than the one or few of plain padding."""
    low = counts[: _PADDING_FROM_HU + 32769]
    is_spread: bool = low.sum() > _PADDING_SHARE * counts.sum() and np.sort(low)[-3:].sum() < 0.8 * low.sum()
    return is_spread


def _is_around_a_body(hu: np.ndarray, counts: np.ndarray) -> bool:
    """Whether values that are too low for air surround an image in HU, as compressed or resampled padding does.

    Else a rescale was applied twice, or with a factor: then soft tissue, or air and lung, are missing where HU have
    them, or what is too low is the lung itself, between the walls of the chest.
    """
    rest = _share(counts, _SPREAD_FROM_HU + 1, 32767)
    air_and_lung = _share(counts, *_AIR_AND_LUNG_HU)
    if _share(counts, *_SOFT_TISSUE_HU) < _LEAST_SOFT_TISSUE * rest or air_and_lung < _LEAST_AIR_AND_LUNG * rest:
        return False
    if _share(counts, *_NO_AIR_HU) > air_and_lung:
        return False
    planes = _planes(hu)
    low_voxels = enclosed = 0
    for plane in planes[:: -(-len(planes) // _MOST_PLANES)]:
        low = (plane <= _SPREAD_FROM_HU) & (plane != PADDING)
        low_voxels += int(low.sum())
        enclosed += int((low & _between(plane > _TISSUE_ABOVE_HU)).sum())
    return enclosed <= _MOST_IN_BODY * low_voxels


def _share(counts: np.ndarray, low: int, high: int) -> int:
    return int(counts[low + 32768 : high + 32769].sum())
