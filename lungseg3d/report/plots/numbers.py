"""Numbers as people read them: a true minus, a dash where nothing is defined, intervals, p values.

In: numbers or None. Out: text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def value_or(number: float | None, otherwise: float = math.nan) -> float:
    """The number, or what stands for one that is not defined."""
    return otherwise if number is None else number


def number_text(value: float | None, digits: int = 0, sign: bool = False) -> str:
    """A number for people: thin spaces between thousands, a true minus, a dash where it is not defined."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{round(float(value), digits) + 0.0:{'+' if sign else ''},.{digits}f}"
    return text.replace(",", "\u202f").replace("-", "−")


def interval_text(values: Mapping[str, Any], digits: int = 3) -> str:
    """`mean (low–high)` of a table with these keys; the mean alone where there is no interval."""
    if values["mean"] is None:
        return "–"
    mean, low, high = (number_text(values[key], digits) for key in ("mean", "low", "high"))
    if values["low"] is None:
        return mean
    return f"{mean} ({low}–{high})"


def p_text(p: float | None) -> str:
    """`p = 0.012`, `p < 0.001`."""
    if p is None:
        return "p –"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
