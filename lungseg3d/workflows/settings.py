"""The settings file that `evaluate --operating-point` writes and `segment --settings` takes.

In: an operating point and what it was chosen on; later, the file. Out: JSON text; `Settings`. Knows no network.
Who edits the file may add below what confidence a report marks a nodule: `low_calibrated_confidence` and
`low_confidence` (where nothing is calibrated).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungseg3d.core import LowConfidence, QualityIssue, UsageError
from lungseg3d.metrics import OperatingPoint
from lungseg3d.workflows.evaluate_means import interval_of, plain

SETTINGS_NAME = "settings.json"
SCHEMA_VERSION = 1
_CUT, _LOW_CALIBRATED, _LOW = "least_confidence", "low_calibrated_confidence", "low_confidence"
_KEYS = {"schema_version", _CUT, _LOW_CALIBRATED, _LOW, "weights_sha256", "chosen"}


@dataclass(frozen=True)
class Settings:
    """How results are to be cut, and what a report marks.

    Attributes:
        least_confidence: nodules of less confidence (`Nodule.confidence`, not calibrated) are dropped; 0 drops none.
        weights_sha256: of the networks behind the confidences, `Bundle.confidence_sha256`; empty when not known.
        low: which nodules a report marks as of low confidence.
    """

    least_confidence: float = 0.0
    weights_sha256: str = ""
    low: LowConfidence = field(default_factory=LowConfidence)

    @property
    def facts(self) -> dict[str, float]:
        """What differs from the defaults, as it stands in the file."""
        values, defaults = _numbers(self), _numbers(Settings())
        return {key: value for key, value in values.items() if value != defaults[key]}

    def issues(self, weights_sha256: str) -> list[QualityIssue]:
        """W_OTHER_OPERATING_POINT when the cut was chosen for other weights than these."""
        if not self.weights_sha256 or self.weights_sha256 == weights_sha256:
            return []
        found = (
            f"the cut at a confidence of {self.least_confidence:.3f} was chosen for weights "
            f"{self.weights_sha256[:12]}, these are {weights_sha256[:12]}: it may keep more or fewer false positives."
        )
        return [QualityIssue("W_OTHER_OPERATING_POINT", found, "Choose it anew: evaluate --operating-point.")]


def settings_text(point: OperatingPoint, weights_sha256: str, chosen_on: Mapping[str, Any]) -> str:
    """The file of an operating point; the same evaluation gives the same bytes.

    Args:
        point: where to cut.
        weights_sha256: of the networks behind the confidences that were evaluated; empty when not known.
        chosen_on: manifest, split and the like.
    """
    reached = {
        "asked_false_positives_a_scan": point.asked,
        "false_positives_a_scan": interval_of(point.false_positives_a_scan),
        "sensitivity": interval_of(point.sensitivity),
        "scans": point.scans,
        "nodules": point.nodules,
    }
    content = {
        "schema_version": SCHEMA_VERSION,
        _CUT: point.least_confidence,  # every digit: it lies between two confidences
        "weights_sha256": weights_sha256,
        "chosen": plain({**chosen_on, **reached}),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_settings(path: Path | str) -> Settings:
    """Settings of a file.

    Raises:
        UsageError: E_SETTINGS when it cannot be read, has an unknown key, or a value that cannot be.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        unknown = sorted(set(content) - _KEYS)
        defaults = _numbers(Settings(least_confidence=content[_CUT]))
        numbers = {key: content.get(key, default) for key, default in defaults.items()}
        weights = content.get("weights_sha256", "")
        if unknown:
            raise ValueError(f"unknown: {', '.join(unknown)}")
        if content.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
            raise ValueError(f"schema_version {content['schema_version']}, expected {SCHEMA_VERSION}")
        for key, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f"{key} is {value!r}, expected a number from 0 to 1")
        if not isinstance(weights, str):
            raise ValueError(f"weights_sha256 is {weights!r}, expected text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        text = f"{path.name}: no settings file ({reason})."
        raise UsageError("E_SETTINGS", text, "Give one that evaluate --operating-point wrote.") from error
    low = LowConfidence(float(numbers[_LOW_CALIBRATED]), float(numbers[_LOW]))
    return Settings(float(numbers[_CUT]), weights, low)


def _numbers(settings: Settings) -> dict[str, float]:
    """The numbers of a settings file, by their key."""
    low = settings.low
    return {_CUT: settings.least_confidence, _LOW_CALIBRATED: low.calibrated, _LOW: low.uncalibrated}
