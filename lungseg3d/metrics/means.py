"""Values of patients -> their mean with an interval over the patients, as tables and JSON have it.

In: (patient, value). Out: `mean`, `low`, `high`, `n`. What belongs to one patient is resampled together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lungseg3d.metrics import Interval, mean_of_patients


def mean_over_patients(
    values: Iterable[tuple[str, float]], *, is_share: bool = False, within: tuple[float, float] | None = None
) -> dict[str, float]:
    """Mean of (patient, value), with its interval over patients; see `lungseg3d.metrics.mean_of_patients`."""
    listed = list(values)
    patients, numbers = [patient for patient, _ in listed], [value for _, value in listed]
    return interval_of(mean_of_patients(numbers, patients, is_share=is_share, within=within))


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
