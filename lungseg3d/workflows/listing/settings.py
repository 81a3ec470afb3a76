"""The settings file that `evaluate --fit-operating-point` writes and `segment --settings` takes.

In: an operating point and what it was chosen on; later, the file. Out: JSON text; `Settings`. Knows no network.
Whoever edits the file may add below what confidence a report marks a nodule: `low_calibrated_confidence` and
`low_confidence` (where nothing is calibrated).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungseg3d.core import LowConfidence, QualityIssue, UsageError, json_text
from lungseg3d.metrics import OperatingPoint
from lungseg3d.metrics.means import interval_of, plain

SETTINGS_NAME = "settings.json"
SCHEMA_VERSION = 2
"""2: the cut is `least_calibrated_confidence` where the results were calibrated; in 1 it is always the raw one."""
_CALIBRATED_CUT, _RAW_CUT = "least_calibrated_confidence", "least_confidence"
_LOW_CALIBRATED, _LOW = "low_calibrated_confidence", "low_confidence"
_KEYS = {"schema_version", _CALIBRATED_CUT, _RAW_CUT, _LOW_CALIBRATED, _LOW, "weights_sha256", "chosen"}


@dataclass(frozen=True)
class Settings:
    """From which confidence findings are listed, and what a report marks.

    Attributes:
        least_confidence: findings of less raw confidence (`Certainty.confidence`) are not listed; 0: no such cut.
        weights_sha256: of the networks behind the confidences, `Bundle.confidence_sha256`; empty when not known.
        low: which nodules a report marks as of low confidence.
        least_calibrated_confidence: findings of less `Certainty.calibrated_confidence` are not listed; None: no such
            cut. A file has one of the two cuts.
    """

    least_confidence: float = 0.0
    weights_sha256: str = ""
    low: LowConfidence = field(default_factory=LowConfidence)
    least_calibrated_confidence: float | None = None

    @property
    def has_cut(self) -> bool:
        """Whether it says from which confidence findings are listed."""
        return self.least_confidence > 0 or self.least_calibrated_confidence is not None

    @property
    def facts(self) -> dict[str, float]:
        """What differs from the defaults, as it stands in the file."""
        defaults = _numbers(Settings())
        values = {key: value for key, value in _numbers(self).items() if value != defaults[key]}
        if self.least_calibrated_confidence is not None:
            values[_CALIBRATED_CUT] = self.least_calibrated_confidence
        return values

    def issues(self, weights_sha256: str) -> list[QualityIssue]:
        """W_OTHER_OPERATING_POINT when the cut was chosen for other weights than these."""
        if not self.weights_sha256 or self.weights_sha256 == weights_sha256:
            return []
        is_calibrated = self.least_calibrated_confidence is not None
        cut = self.least_calibrated_confidence if is_calibrated else self.least_confidence
        found = (
            f"the cut at a {'calibrated ' if is_calibrated else ''}confidence of {cut:.3f} was chosen for weights "
            f"{self.weights_sha256[:12]}, these are {weights_sha256[:12]}: it may keep more or fewer false positives."
        )
        return [QualityIssue("W_OTHER_OPERATING_POINT", found, "Choose it anew: evaluate --fit-operating-point.")]


def settings_text(
    point: OperatingPoint, weights_sha256: str, chosen_on: Mapping[str, Any], *, is_calibrated: bool
) -> str:
    """The file of an operating point; the same evaluation gives the same bytes.

    Args:
        point: where to cut.
        weights_sha256: of the networks behind the confidences that were evaluated; empty when not known.
        chosen_on: manifest, split and the like.
        is_calibrated: whether the point was chosen by calibrated confidences.
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
        # every digit: it lies between two confidences
        _CALIBRATED_CUT if is_calibrated else _RAW_CUT: point.least_confidence,
        "weights_sha256": weights_sha256,
        "chosen": plain({**chosen_on, **reached}),
    }
    return json_text(content)


def read_settings(path: Path | str) -> Settings:
    """Settings of a file of this version or of version 1.

    Raises:
        UsageError: E_SETTINGS when it cannot be read, has an unknown key, no cut or two, or a value that cannot be.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"expected keys and values, found {type(content).__name__}")
        if unknown := sorted(set(content) - _KEYS):
            raise ValueError(f"unknown: {', '.join(unknown)}")
        version = content.get("schema_version", SCHEMA_VERSION)
        if isinstance(version, bool) or version not in (1, SCHEMA_VERSION):
            raise ValueError(f"schema_version {version}, expected {SCHEMA_VERSION} or 1")
        cuts = [key for key in (_CALIBRATED_CUT, _RAW_CUT) if key in content]
        if len(cuts) != 1:
            said = "both are given" if cuts else "neither is given"
            raise ValueError(f"expected one of {_CALIBRATED_CUT} and {_RAW_CUT}, {said}")
        defaults = _numbers(Settings()) | dict.fromkeys(cuts, 0.0)
        numbers = {key: content.get(key, default) for key, default in defaults.items()}
        for key, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f"{key} is {value!r}, expected a number from 0 to 1")
        weights = content.get("weights_sha256", "")
        if not isinstance(weights, str):
            raise ValueError(f"weights_sha256 is {weights!r}, expected text")
    except (OSError, ValueError, RecursionError) as error:
        text = f"{path.name}: no settings file ({error})."
        raise UsageError("E_SETTINGS", text, "Give one that evaluate --fit-operating-point wrote.") from error
    low = LowConfidence(float(numbers[_LOW_CALIBRATED]), float(numbers[_LOW]))
    calibrated = numbers.get(_CALIBRATED_CUT)
    return Settings(float(numbers[_RAW_CUT]), weights, low, None if calibrated is None else float(calibrated))


def _numbers(settings: Settings) -> dict[str, float]:
    """The numbers of a settings file that have a default, by their key."""
    low = settings.low
    return {_RAW_CUT: settings.least_confidence, _LOW_CALIBRATED: low.calibrated, _LOW: low.uncalibrated}
