"""A bundle that somebody else made, looked at before any of it is evaluated.

In: a bundle's folder and the files that are going to be used. Out: nothing, or E_UNTRUSTED_CONFIG with file and key. A
MONAI configuration is code: `_target_` names any function of any module, `$` is handed to `eval`, `%` includes other
files. Here, what is not on the list (`bundle_parts`) is refused. Evaluates nothing, imports nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from configparser import Error as IniError
from configparser import RawConfigParser
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

from lungseg3d.core import BundleError
from lungseg3d.io.bundle_expressions import complaint_about_expression, complaint_about_path
from lungseg3d.io.bundle_parts import is_allowed_part

METADATA, LOGGING = "configs/metadata.json", "configs/logging.conf"
_MOST_BYTES, _MOST_FILES, _DEEPEST = 4 * 2**20, 20_000, 60
_CODE = (".py", ".pyc", ".pyo", ".pyw", ".so", ".pyd", ".dll", ".dylib", ".pth", ".yaml", ".yml", ".pkl", ".pickle")
_LOGGING_VALUES = {
    "class": {"StreamHandler", "logging.StreamHandler", "logging.Formatter"},
    "args": {"(sys.stdout,)", "(sys.stderr,)", "()"},
}
_LOGGING_KEYS = {
    "keys",
    "level",
    "handlers",
    "formatter",
    "qualname",
    "propagate",
    "format",
    "datefmt",
    *_LOGGING_VALUES,
}
_REMEDY = "Look at it. If you trust who made the bundle with your account, pass --trust-bundle: then it may run code."

_trusting: ContextVar[bool] = ContextVar("trusting", default=False)


@contextlib.contextmanager
def trusting_bundles(trust: bool = True) -> Iterator[None]:
    """While it lasts, bundles are opened as they are, also those that another one names: the user said so."""
    token = _trusting.set(trust or _trusting.get())
    try:
        yield
    finally:
        _trusting.reset(token)


def is_trusting() -> bool:
    """Whether the user said that bundles may run code."""
    return _trusting.get()


def check_bundle(root: Path, configs: Sequence[Path | str]) -> None:
    """Refuse a bundle that could do more than its task, unless the user trusts it.

    Args:
        root: the bundle's folder.
        configs: JSON configurations that will be evaluated, from `root` or absolute; those that are absent are left to
            who opens them. Metadata and `logging.conf` are always looked at.

    Raises:
        BundleError: E_UNTRUSTED_CONFIG.
    """
    if is_trusting():
        return
    root = Path(root)
    _check_files(root)
    for path in dict.fromkeys(root / config for config in (METADATA, *configs)):
        if path.is_file():
            _check_config(path, _shown(path, root), is_metadata=path == root / METADATA)
    if (root / LOGGING).is_file():
        _check_logging(root / LOGGING)


def _check_files(root: Path) -> None:
    """No code beside the configuration, and no link that leads out."""
    count = 0
    inside = root.resolve()
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            count += 1
            path = Path(folder, name)
            if count > _MOST_FILES:
                _refuse(root.name, "", f"more than {_MOST_FILES} files")
            if name.lower().endswith(_CODE):
                _refuse(_shown(path, root), "", "a file of code, or of a format that can hold some")
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                _refuse(_shown(path, root), "", "a link that leads out of the bundle")


def _check_config(path: Path, name: str, is_metadata: bool) -> None:
    if path.suffix != ".json":
        _refuse(name, "", "no JSON")
    if path.stat().st_size > _MOST_BYTES:
        _refuse(name, "", f"larger than {_MOST_BYTES // 2**20} MiB")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_duplicates)
    except _Twice as twice:
        _refuse(name, str(twice), "the key occurs twice, so readers may differ")
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError("E_CONFIGURATION", f"{name}: {error}", "Mend the file.") from error
    if not isinstance(content, dict):
        raise BundleError("E_CONFIGURATION", f"{name}: no JSON object", "Mend the file.")
    for key, value in _nodes(content):
        if said := _complaint(key, value, is_metadata):
            _refuse(name, key, said)


def _complaint(key: str, value: Any, is_metadata: bool) -> str:
    """What is wrong with the value at a key; "" when nothing is."""
    last = key.replace("#", "::").rpartition("::")[2].lstrip("+")
    if key.count("::") > _DEEPEST:
        return "nested too deeply"
    if last == "_target_":
        if is_metadata or not isinstance(value, str) or not is_allowed_part(value):
            return f"_target_ {str(value)[:80]} is not on the list of parts that a bundle may be made of"
    elif last == "_requires_":
        return "_requires_ runs something beside what is asked for"
    elif last == "_mode_":
        return "" if value == "default" else f"_mode_ {str(value)[:80]}"
    elif last == "strict" and value is not True:
        return "strict is not true, so that weights that do not fit would be taken"
    if not isinstance(value, str) or last == "_desc_":
        return ""
    if value.startswith("$"):
        if is_metadata:
            return "an expression in the metadata"
        said = complaint_about_expression(value)
        return said and f"{value[:80]}: {said}"
    if value.lstrip().startswith(("%", "$")):
        return f"{value[:80]}: the macro includes what was not looked at"
    if is_metadata or (key == "dataset_dir" and complaint_about_path(value) == "an absolute path"):
        return ""
    said = complaint_about_path(value)
    return said and f"{value[:80]}: {said}"


def _check_logging(path: Path) -> None:
    """logging.config evaluates classes and arguments: only plain handlers to the terminal pass."""
    ini = RawConfigParser()
    try:
        ini.read_string(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, IniError) as error:
        raise BundleError("E_CONFIGURATION", f"{LOGGING}: {error}", "Mend the file.") from error
    for section in (*ini.sections(), "DEFAULT"):
        for key, value in ini.items(section):
            allowed = _LOGGING_VALUES.get(key)
            if key not in _LOGGING_KEYS or (allowed is not None and value not in allowed):
                _refuse(LOGGING, f"[{section}] {key}", f"{value[:80]} is evaluated, and not on the list")


class _Twice(ValueError):
    """A key that occurs twice."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _Twice(key)
        seen.add(key)
    return dict(pairs)


def _nodes(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items: Any = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        inner = f"{path}::{key}" if path else str(key)
        yield inner, value
        if inner.count("::") <= _DEEPEST:
            yield from _nodes(value, inner)


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _refuse(file: str, key: str, said: str) -> NoReturn:
    place = f"{file}, {key}" if key else file
    raise BundleError("E_UNTRUSTED_CONFIG", f"the bundle is not opened. {place}: {said}.", _REMEDY)
