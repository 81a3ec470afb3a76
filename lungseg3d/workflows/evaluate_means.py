"""Values of patients -> their mean with an interval over the patients, as tables and JSON have it.

In: (patient, value). Out: `mean`, `low`, `high`, `n`. What belongs to one patient is resampled together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lungseg3d.metrics import Interval, bootstrap_ratio


def mean_over_patients(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Mean of (patient, value), with its interval over patients; one patient alone has none, so its bounds are nan."""
    by_patient: dict[str, list[float]] = {}
    for patient, value in values:
        by_patient.setdefault(patient, []).append(value)
    groups = list(by_patient.values())
    interval = bootstrap_ratio([sum(group) for group in groups], [len(group) for group in groups])
    return interval_of(interval if len(groups) > 1 else replace(interval, low=math.nan, high=math.nan))


def interval_of(interval: Interval) -> dict[str, float]:
    """As a table."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}


def plain(value: Any) -> Any:
    """As JSON has it: None for what is not a number, six digits behind the point."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
