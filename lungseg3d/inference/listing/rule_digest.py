"""A bundle's configuration -> one SHA-256 of what decides which findings there are and how sure they are.

In: the content of `inference.json`, references not resolved. Out: hexadecimal text. A calibration and operating points
hold for one such sum: whoever changes a threshold by hand must fit them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lungseg3d.io import read_once

_COUNTED = (
    *("spacing_mm", "hu_range", "peak", "least_judgement", "first_look", "least_confidence"),
    *("preprocessing", "inferer", "postprocessing"),
)
_WITHOUT_EFFECT = {"_desc_", "batch_size"}
_MOST_BYTES = 2**20


def rule_sha256(config: Mapping[str, Any]) -> str:
    """The sum of a configuration; texts that describe and sizes of batches do not count."""
    counted = {key: _plain(config[key]) for key in _COUNTED if key in config}
    return hashlib.sha256(json.dumps(counted, sort_keys=True, default=str).encode()).hexdigest()


def rule_sha256_of(bundle: Path) -> str:
    """The sum of the bundle in a folder; empty where it has no configuration that can be read."""
    try:
        return rule_sha256(json.loads(read_once(bundle / "configs" / "inference.json", _MOST_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return ""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if key not in _WITHOUT_EFFECT}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
