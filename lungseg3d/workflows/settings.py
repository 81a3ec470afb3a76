"""The settings file that `evaluate --operating-point` writes and `segment --settings` takes.

In: an operating point and what it was chosen on; later, the file. Out: JSON text; `Settings`. Knows no network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungseg3d.core import QualityIssue, UsageError
from lungseg3d.metrics import OperatingPoint
from lungseg3d.workflows.evaluate_means import interval_of, plain

SETTINGS_NAME = "settings.json"
SCHEMA_VERSION = 1
_KEYS = {"schema_version", "least_confidence", "weights_sha256", "chosen"}


@dataclass(frozen=True)
class Settings:
    """How results are to be cut.

    Attributes:
        least_confidence: nodules of less confidence (`Nodule.confidence`, not calibrated) are dropped; 0 drops none.
        weights_sha256: of the network whose confidences were cut; empty when not known.
    """

    least_confidence: float = 0.0
    weights_sha256: str = ""

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
        weights_sha256: of the network whose confidences were evaluated; empty when not known.
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
        "least_confidence": point.least_confidence,  # every digit: it lies between two confidences
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
        cut, weights = content["least_confidence"], content.get("weights_sha256", "")
        if unknown:
            raise ValueError(f"unknown: {', '.join(unknown)}")
        if content.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
            raise ValueError(f"schema_version {content['schema_version']}, expected {SCHEMA_VERSION}")
        if isinstance(cut, bool) or not isinstance(cut, (int, float)) or not 0 <= cut <= 1:
            raise ValueError(f"least_confidence is {cut!r}, expected a number from 0 to 1")
        if not isinstance(weights, str):
            raise ValueError(f"weights_sha256 is {weights!r}, expected text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        text = f"{path.name}: no settings file ({reason})."
        raise UsageError("E_SETTINGS", text, "Give one that evaluate --operating-point wrote.") from error
    return Settings(float(cut), weights)
