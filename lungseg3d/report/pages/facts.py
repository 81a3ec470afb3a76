"""Any record of a case's origin as rows of name and text.

In: nested dictionaries and lists. Out: a flat list of `Fact`. Knows no key by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lungseg3d.core import to_json

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Fact:
    """One row.

    Attributes:
        name: the path of keys, for people.
        text: the value; a SHA-256 by its first 12 digits.
        full: the whole value where `text` is shortened, else empty.
    """

    name: str
    text: str
    full: str = ""


def list_facts(record: Mapping[str, Any]) -> list[Fact]:
    """The leaves of a nested record in its own order; what is empty has no row."""
    return _leaves(to_json(dict(record)), "")


def _leaves(value: Any, name: str) -> list[Fact]:
    if isinstance(value, dict):
        return [fact for key, item in value.items() for fact in _leaves(item, _joined(name, key))]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [fact for i, item in enumerate(value, 1) for fact in _leaves(item, _joined(name, str(i)))]
    if value is None or value == "" or value == []:
        return []
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return [Fact(name, value[:12] + "…", value)]
    return [Fact(name, _text(value))]


def _joined(name: str, key: str) -> str:
    words = key.replace("_", " ")
    return f"{name} · {words}" if name else words


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        mark = "; " if any(isinstance(item, list) for item in value) else ", "
        return mark.join(_text(item) for item in value)
    return str(value)
