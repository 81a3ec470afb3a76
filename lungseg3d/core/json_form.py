"""Records as JSON: values that JSON has, and the text of a file.

In: records, numbers, containers. Out: what `json` takes, and text. Knows no file.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.core.nodule import Nodule, nodule_record
from lungseg3d.core.records import QualityIssue


def to_json(value: Any) -> Any:
    """A record, or anything made of records and numbers, as what `json.dumps` takes.

    NumPy scalars and arrays become numbers and lists, paths their POSIX form, enums their value;
    issues gain `severity`, nodules are flat.
    """
    if isinstance(value, Nodule):
        return {key: to_json(item) for key, item in nodule_record(value).items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, QualityIssue):
            plain["severity"] = value.severity.value
        return plain
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return value.as_posix()
    return value


def finite(value: Any) -> Any:
    """The same JSON value with None for every number that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(content: Any, indent: int = 1, *, escape: bool = False, allow_nan: bool = False) -> str:
    r"""The text of a JSON file: indented, ended by a newline; the same content gives the same bytes.

    Args:
        content: what `to_json` returns, or JSON values.
        indent: spaces by level.
        escape: letters beyond ASCII as `\u` escapes: for paths that are no Unicode, and files that always had them so.
        allow_nan: numbers that are not finite as `NaN` and `Infinity`, which are no JSON.

    Raises:
        TypeError: the content holds something that has no JSON form.
        ValueError: a number is not finite, and `allow_nan` is not set.
    """
    return json.dumps(content, indent=indent, ensure_ascii=escape, allow_nan=allow_nan) + "\n"
