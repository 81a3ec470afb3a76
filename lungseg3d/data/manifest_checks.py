"""The text of a manifest -> its content, every field of the type that it must have.

In: bytes of a JSON file. Out: the dictionary, or E_MANIFEST with the case and the field. Opens no file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PureWindowsPath
from typing import Any, NoReturn

from lungseg3d.core import LungSegError

_REMEDY = "Mend the manifest; those that came with this package show the form."
_TYPES = {str: "a text", int: "a whole number", dict: "a table", list: "a list"}


def parse_manifest(text: bytes, name: str) -> dict[str, Any]:
    """A manifest, checked.

    Args:
        text: UTF-8 JSON: `name`, `source`, `cases`; each case with `case_id`, `files` (key -> path inside the
            data's folder), and where it has them `patient` and `split` (text), `fold` (number), `facts` and `sha256`
            (tables), `known_as` (name of another data set -> the patient's name there).
        name: of the file, for messages.

    Raises:
        LungSegError: E_MANIFEST; E_DUPLICATE_CASE for one case id on two cases, upper and lower case counted as equal.
    """
    try:
        content = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        refuse_manifest(name, f"not JSON in UTF-8 ({type(error).__name__}: {error})")
    _need(content, dict, name, "the manifest")
    for key in ("name", "source"):
        _need(content.get(key, ""), str, name, key)
    cases = content.get("cases")
    if not cases:
        refuse_manifest(name, "it lists no cases")
    _need(cases, list, name, "cases")
    for number, case in enumerate(cases, 1):
        _check_case(case, f"case {number}", name)
    _need_own_ids([case["case_id"] for case in cases], name)
    checked: dict[str, Any] = content
    return checked


def _check_case(case: Any, title: str, name: str) -> None:
    _need(case, dict, name, title)
    _need_text(case.get("case_id"), name, f"{title}, case_id")
    for key, kind in (
        ("patient", str),
        ("fold", int),
        ("split", str),
        ("facts", dict),
        ("sha256", dict),
        ("known_as", dict),
    ):
        if case.get(key) is not None:
            _need(case[key], kind, name, f"{title}, {key}")
    for dataset, patient in (case.get("known_as") or {}).items():
        _need(patient, str, name, f"{title}, known_as, {dataset}")
    files = case.get("files")
    _need(files, dict, name, f"{title}, files")
    for key, relative in files.items():
        _need_text(relative, name, f"{title}, files, {key}")
        _need_inside(relative, name, f"{title}, files, {key}")


def _need_own_ids(case_ids: Sequence[str], name: str) -> None:
    """Results of two cases would go by one name, and be taken for one another."""
    seen: dict[str, int] = {}
    for number, case_id in enumerate(case_ids, 1):
        first = seen.setdefault(case_id.casefold(), number)
        if first != number:
            text = f"{name}: cases {first} and {number} have the same case_id, {_short(case_id)}."
            raise LungSegError("E_DUPLICATE_CASE", text, "Give every case a case_id of its own.")


def _need(value: Any, kind: type, name: str, title: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        refuse_manifest(name, f"{title} is {_short(value)}; expected {_TYPES[kind]}")


def _need_text(value: Any, name: str, title: str) -> None:
    """Text that can be a file's name: not empty, encodable, without a zero byte."""
    _need(value, str, name, title)
    if not value or "\0" in value or _has_surrogates(value):
        refuse_manifest(name, f"{title} is {_short(value)}; expected a name")


def _need_inside(relative: str, name: str, title: str) -> None:
    """A path that starts from the data's folder and stays in it, on any system: a manifest may come from anybody.

    A link in the folder is the user's own and is followed: `prepare` puts one there instead of copying the data.
    """
    windows = PureWindowsPath(relative)
    if relative.startswith(("/", "\\")) or windows.drive or ".." in windows.parts:
        refuse_manifest(name, f"{title} is {_short(relative)}; expected a path inside the data's folder")


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _short(value: Any) -> str:
    if value is None:
        return "absent"
    return json.dumps(value)[:40] if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"


def refuse_manifest(name: str, found: str) -> NoReturn:
    """Stop.

    Raises:
        LungSegError: E_MANIFEST, always.
    """
    raise LungSegError("E_MANIFEST", f"{name}: {found}.", _REMEDY)
