"""Two volumes of one nodule -> its change, its doubling time, both with 95 % intervals, and a word for it.

In: `Nodule` records, days. Out: `Estimate`s and a `Change`. Knows no image.
All errors are taken as log-normal: a volume is never below 0, and twice too much is as likely as half.
"""

from __future__ import annotations

import numpy as np

from lungseg3d.core import Change, Estimate, Nodule

LEAST_CHANGE = 0.25
"""Below, a change is not told from measurement: BTS guideline (Callister et al. 2015, Thorax 70:ii1) and NELSON (van
Klaveren et al. 2009, NEJM 361:2221), after same-day studies."""
_Z95 = 1.959964
_LEAST_SD = float(np.log1p(LEAST_CHANGE)) / _Z95


def volume_change(prior: Nodule, current: Nodule) -> Estimate:
    """(current - prior) / prior and its 95 % interval.

    The interval joins those of both volumes, but is never narrower than a change of 25 % that could be none: two scans
    of an unchanged nodule of more than 60 mm3 differ by up to 27 % (95 % limits, 233 nodules; Marchiano et al. 2009,
    Radiology 251:919).

    Raises:
        ValueError: a nodule has no interval of its volume.
    """
    ratio = np.log(current.volume_mm3 / prior.volume_mm3)
    reach = _Z95 * max(_LEAST_SD, float(np.hypot(_log_sd(prior), _log_sd(current))))
    value, low, high = (float(np.expm1(r)) for r in (ratio, ratio - reach, ratio + reach))
    return Estimate(value, low, high)


def _log_sd(nodule: Nodule) -> float:
    """Standard error of the logarithm of the volume, from its interval."""
    if nodule.volume.low_mm3 is None or nodule.volume.high_mm3 is None:
        raise ValueError(f"nodule {nodule.id} has no interval of its volume")
    return float(np.log(nodule.volume.high_mm3 / nodule.volume.low_mm3)) / (2 * _Z95)


def doubling_time_days(change: Estimate, days: float | None) -> Estimate:
    """Volume doubling time under exponential growth, days ln 2 / ln(V2 / V1) (Schwartz 1961, Cancer 14:1272).

    Args:
        change: of the volume, with its interval.
        days: between both CTs; None or not above 0 gives nothing.

    Returns:
        Value and interval in days. The value is None where the nodule did not grow by 25 %, as NELSON has it; `high`
        is None where the interval of the change reaches below no growth, `low` too where all of it does.
    """
    if days is None or days <= 0 or change.value is None or change.low is None or change.high is None:
        return Estimate(None)
    value, low, high = (
        float(days * np.log(2) / np.log1p(share)) if share > least else None
        for share, least in ((change.value, LEAST_CHANGE - 1e-9), (change.high, 0.0), (change.low, 0.0))
    )
    return Estimate(value, low, high)


def word_for(change: Estimate) -> tuple[Change, str]:
    """`grown`, `shrunk`, `stable` or `not-measurable`, and why not.

    Grown by at least 25 %, or shrunk by as much (to 1 / 1.25), with an interval that leaves out no change. Below that
    the nodule is stable, if the interval also leaves out that it doubled or halved; otherwise nothing can be said.
    """
    if change.value is None or change.low is None or change.high is None:
        return Change.NOT_MEASURABLE, "no volume"
    is_large = change.value >= LEAST_CHANGE or change.value <= 1 / (1 + LEAST_CHANGE) - 1
    if is_large and change.low <= 0 <= change.high:
        return Change.NOT_MEASURABLE, "may be no change: the interval reaches below and above 0"
    if is_large:
        return (Change.GROWN if change.value > 0 else Change.SHRUNK), ""
    if change.low <= -0.5 or change.high >= 1:
        return Change.NOT_MEASURABLE, "too small for these voxels: it may have doubled or halved"
    return Change.STABLE, ""
