"""A bundle that somebody else made, looked at before any of it is evaluated.

In: a bundle's folder and the files that are going to be used. Out: their contents, each read once and checked, or
E_UNTRUSTED_CONFIG with file and key. A MONAI configuration is code: `_target_` names any function of any module, `$` is
handed to `eval`, `%` includes other files. Here, what is not on the list (`bundle_parts`) is refused. Whoever evaluates
takes the contents, never the path again. Evaluates nothing, imports nothing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from configparser import Error as IniError
from configparser import RawConfigParser
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lungseg3d.core import BundleError
from lungseg3d.io.bundle.expressions import complaint_about_expression, complaint_about_path
from lungseg3d.io.bundle.parts import is_allowed_part
from lungseg3d.io.bundle.reading import bundle_folder, read_once

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
_RELATIVE = re.compile(r"[@%](?:#|::)")  # `@##a`, as monai.bundle.ConfigParser finds them
_WORDS = re.compile(r"\+?\w+(?:(?:::|#)\w+)*")
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


@dataclass(frozen=True)
class CheckedBundle:
    """What was read of a bundle, each file once, and may be evaluated.

    Attributes:
        root: its folder, absolute.
        configs: contents of the configurations, in the order in which they were named.
        sums: SHA-256 of the bytes of each of them, in the same order.
        metadata: content of `configs/metadata.json`; None where there is none.
        logging: text of `configs/logging.conf`; empty where there is none.
    """

    root: Path
    configs: tuple[dict[str, Any], ...]
    sums: tuple[str, ...]
    metadata: dict[str, Any] | None
    logging: str


def check_bundle(root: Path | str, configs: Sequence[Path | str]) -> CheckedBundle:
    """Read what is going to be used of a bundle, and refuse it if it could do more than its task.

    Args:
        root: the bundle's folder.
        configs: JSON configurations that will be evaluated, absolute or from `root`. Metadata and `logging.conf` are
            read where there are some. While the user trusts the bundle they are read, and not checked.

    Raises:
        BundleError: E_UNTRUSTED_CONFIG; E_NO_BUNDLE for a configuration that is absent; E_CONFIGURATION for one that
            cannot be read.
    """
    root = bundle_folder(root)
    if not is_trusting():
        _check_files(root)
    read = [_config(root, Path(config)) for config in configs]
    has_metadata, has_logging = (os.path.lexists(root / name) for name in (METADATA, LOGGING))
    return CheckedBundle(
        root,
        tuple(content for content, _ in read),
        tuple(sha256 for _, sha256 in read),
        _config(root, Path(METADATA))[0] if has_metadata else None,
        _logging(root) if has_logging else "",
    )


def check_override(key: str, value: Any) -> None:
    """Refuse a value that the command line sets, where it could do more than set a value; paths are the user's own.

    Args:
        key: of the configuration, `a::b` for a nested one.
        value: as the configuration will have it.

    Raises:
        BundleError: E_UNTRUSTED_CONFIG.
    """
    if is_trusting():
        return
    for inner, node in ((key, value), *_nodes(value, key)):
        if said := _complaint(inner, node, is_metadata=False, may_have_paths=True):
            _refuse("--set", inner, said)


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


def _config(root: Path, config: Path) -> tuple[dict[str, Any], str]:
    """The content of a configuration and the SHA-256 of its bytes; checked, unless the user trusts the bundle."""
    path = root / config
    name, is_metadata = _shown(path, root), path == root / METADATA
    if not is_trusting() and path.suffix != ".json":
        _refuse(name, "", "no JSON")
    data = _read(path, name)
    try:
        hook = None if is_trusting() else _without_duplicates
        content = json.loads(data.decode("utf-8"), object_pairs_hook=hook)
    except _Twice as twice:
        _refuse(name, str(twice), "the key occurs twice, so readers may differ")
    except (ValueError, RecursionError) as error:
        raise BundleError("E_CONFIGURATION", f"{name}: {error}", "Mend the file.") from error
    if not isinstance(content, dict):
        raise BundleError("E_CONFIGURATION", f"{name}: no JSON object", "Mend the file.")
    for key, value in () if is_trusting() else _nodes(content):
        if said := _complaint(key, value, is_metadata):
            _refuse(name, key, said)
    return content, hashlib.sha256(data).hexdigest()


def _read(path: Path, name: str) -> bytes:
    try:
        return read_once(path, _MOST_BYTES)
    except FileNotFoundError as error:
        text = f"{path} is missing"
        raise BundleError("E_NO_BUNDLE", text, "Give the root folder of a bundle that has this file.") from error
    except OSError as error:
        if error.errno == errno.EFBIG and not is_trusting():
            _refuse(name, "", str(error.strerror))
        raise BundleError("E_CONFIGURATION", f"{name}: {error.strerror}", "Mend the file.") from error


def _complaint(key: str, value: Any, is_metadata: bool, may_have_paths: bool = False) -> str:
    """What is wrong with the value at a key; "" when nothing is."""
    last = key.replace("#", "::").rpartition("::")[2].lstrip("+")
    if key.count("::") > _DEEPEST:
        return "nested too deeply"
    if said := _complaint_about_word(last, value, is_metadata):
        return said
    if not isinstance(value, str):
        return ""
    if _RELATIVE.search(value) and not _WORDS.fullmatch(key):
        # MONAI writes the names of the keys above into the text, which may then say anything.
        return f"{value[:80]}: a relative reference below a key that is no plain word"
    if value.startswith("$"):
        if is_metadata:
            return "an expression in the metadata"
        said = complaint_about_expression(value)
        return said and f"{value[:80]}: {said}"
    if value.lstrip().startswith(("%", "$")):
        return f"{value[:80]}: the macro includes what was not looked at"
    if last == "_desc_" or is_metadata or may_have_paths or (key == "bundle_root" and value == "."):
        return ""
    if key == "dataset_dir" and complaint_about_path(value) == "an absolute path":
        return ""
    said = complaint_about_path(value)
    return said and f"{value[:80]}: {said}"


def _complaint_about_word(last: str, value: Any, is_metadata: bool) -> str:
    """What is wrong with the value of a key that MONAI, or a part of a bundle, takes as an order."""
    if last == "_target_" and (is_metadata or not isinstance(value, str) or not is_allowed_part(value)):
        return f"_target_ {str(value)[:80]} is not on the list of parts that a bundle may be made of"
    if last == "_requires_":
        return "_requires_ runs something beside what is asked for"
    if last == "_mode_" and value != "default":
        return f"_mode_ {str(value)[:80]}"
    if last == "_debug_":
        return "_debug_ starts the debugger"
    if last == "strict" and value is not True:
        return "strict is not true, so that weights that do not fit would be taken"
    if last == "weights_only" and value is not True:
        return "weights_only is not true, so that files of a cache could run code"
    return ""


def _logging(root: Path) -> str:
    """logging.config evaluates classes and arguments: only plain handlers to the terminal pass."""
    ini = RawConfigParser()
    try:
        text = _read(root / LOGGING, LOGGING).decode("utf-8")
        if not is_trusting():
            ini.read_string(text)
    except (ValueError, IniError) as error:
        raise BundleError("E_CONFIGURATION", f"{LOGGING}: {error}", "Mend the file.") from error
    for section in (*ini.sections(), "DEFAULT"):
        for key, value in ini.items(section):
            allowed = _LOGGING_VALUES.get(key)
            if key not in _LOGGING_KEYS or (allowed is not None and value not in allowed):
                _refuse(LOGGING, f"[{section}] {key}", f"{value[:80]} is evaluated, and not on the list")
    return text


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
