"""Which nodules are of low confidence, as reports mark them.

In: a `Nodule`. Out: the confidence that is too low. Knows no drawing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lungseg3d.core.records import Nodule


@dataclass(frozen=True)
class LowConfidence:
    """Below what a nodule is marked as of low confidence.

    Attributes:
        calibrated: limit of the calibrated confidence; at 0.5 more of its like were none than were.
        uncalibrated: limit of `Nodule.confidence` where nothing is calibrated: the networks waver over much of it.
    """

    calibrated: float = 0.5
    uncalibrated: float = 0.8

    @staticmethod
    def of_options(options: Mapping[str, Any]) -> LowConfidence:
        """The limits that the options of a record name, else the defaults."""
        asked = {"calibrated": "low_calibrated_confidence", "uncalibrated": "low_confidence"}
        return LowConfidence(**{field: float(options[key]) for field, key in asked.items() if key in options})

    def reason(self, nodule: Nodule) -> str:
        """The field of a nodule that is too low: `calibrated_confidence` or `confidence`; empty where none is."""
        if nodule.calibrated_confidence is not None:
            return "calibrated_confidence" if nodule.calibrated_confidence < self.calibrated else ""
        return "confidence" if nodule.confidence is not None and nodule.confidence < self.uncalibrated else ""
