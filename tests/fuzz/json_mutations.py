"""Ways to spoil a JSON manifest: values of other types, lost and odd keys, deep nesting, broken text.

In: the bytes of a file and a random generator. Out: other bytes.
"""

from __future__ import annotations

import json
import random
from typing import Any

from tests.fuzz.byte_mutations import spoil_bytes

_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2**70, 0.5, float("nan"), float("inf"), "", "x", "v.nii", "..", "/", "a\0b",
    "\ud800", "x" * 5000, "../v.nii", "l.nii/x", "\n\n\n\n", [], [[]], {}, [None], [1, 2], {"a": {}}, {"": ""},
    {"image": None},
)  # fmt: skip
_KEYS = ("cases", "files", "case_id", "patient", "fold", "name", "source", "image", "facts", "", "a\nb", "é")
_TEXTS = (
    b"", b"{}", b"[]", b"null", b"1", b'"cases"', b"nan", b"{", b"[" * 50_000, b'{"cases":' * 5_000,
    b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b'{"cases": ' + b"9" * 5000 + b"}", b'{"cases": [1e999]}',
    b'{"cases": "abc"}', b'{"cases": {"a": 1}}', b"[" * 900 + b"]" * 900,
)  # fmt: skip


def spoil_manifest(data: bytes, rng: random.Random) -> bytes:
    """One mutation of the tree, or of the text."""
    if rng.random() < 0.1:
        return rng.choice(_TEXTS)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return spoil_bytes(data, rng)
    places = list(_places(content))
    if not places:
        return rng.choice(_TEXTS)
    holder, key = rng.choice(places)
    choice = rng.randrange(6)
    if choice <= 2:
        holder[key] = rng.choice(_ODD)
    elif choice == 3:
        del holder[key]
    elif choice == 4 and isinstance(holder, dict):
        holder[rng.choice(_KEYS)] = rng.choice(_ODD) if rng.random() < 0.5 else holder[key]
    elif isinstance(holder, list):
        holder.append(holder[key])
    try:
        return json.dumps(content).encode()
    except (ValueError, RecursionError):
        return rng.choice(_TEXTS)


def _places(node: Any, depth: int = 0):
    """(container, key or index) of every value of a tree."""
    if depth > 20 or not isinstance(node, (dict, list)):
        return
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        yield from _places(value, depth + 1)
