"""What a run is known by: its configuration, code, versions and data, without anything that names a patient.

In: a configuration, data sets, manifests. Out: flat dictionaries, a data split. Knows no MLflow and no network.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lungseg3d
from lungseg3d.data import read_manifest

_PACKAGES = ("lungseg3d", "torch", "monai", "pytorch-ignite", "mlflow", "numpy")
_LONGEST_VALUE = 500
_NOT_IN_A_NAME = re.compile(r"[^\w\-./ ]")
_REFERENCE = re.compile(r"@([\w:#]+)")
# A path from a root, a home or a drive, wherever it stands: ends at a quote, a bracket, a comma or a space.
_PATH = re.compile(r"(?<![\w.@])(?:~|[A-Za-z]:)?[\\/](?!\.\.)[^\s'\",;()\[\]]+")
HIDDEN_PATH = "<path>"


def resolve_plain_references(config: Mapping[str, Any]) -> dict[str, Any]:
    """Strings that are nothing but `@id` become what `id` is, where that is a number, a text or a list of these."""

    def target(text: str) -> Any:
        for _ in range(10):
            match = _REFERENCE.fullmatch(text)
            if match is None:
                return text
            found: Any = config
            for part in re.split("::|#", match[1]):
                try:
                    found = found[int(part)] if isinstance(found, list) else found[part]
                except (KeyError, IndexError, TypeError, ValueError):
                    return text
            if isinstance(found, str):
                text = found
            else:
                return text if isinstance(found, dict) or not _is_plain(found) else found
        return text

    def resolved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: resolved(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [resolved(item) for item in value]
        return target(value) if isinstance(value, str) else value

    content: dict[str, Any] = resolved(config)
    return content


def without_paths(value: Any) -> Any:
    """The same content with `<path>` for every path, as folders are named after patients and users.

    A text with a slash is a path; in an expression (`$...`) only what begins at a root is, as `/` also divides.
    Descriptions (`_desc_`) are the author's and stay.
    """
    if isinstance(value, Mapping):
        return {key: item if key == "_desc_" else without_paths(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith(("$", "@", "%")):
        return _PATH.sub(HIDDEN_PATH, value)
    return HIDDEN_PATH if "/" in value or "\\" in value else value


def flat_parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """Nested configuration -> `{"train/sampler/patch_size": "64"}`: plain lists whole, descriptions left out."""
    flat: dict[str, str] = {}

    def visit(value: Any, name: str) -> None:
        if isinstance(value, Mapping) and (value or not name):
            items: Iterable[tuple[Any, Any]] = value.items()
        elif isinstance(value, (list, tuple)) and not _is_plain(value):
            items = enumerate(value)
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[_NOT_IN_A_NAME.sub("_", name)[:250]] = text[:_LONGEST_VALUE]
            return
        for key, item in items:
            if key not in ("_desc_", "_meta_"):
                visit(item, f"{name}/{key}" if name else str(key))

    visit(config, "")
    return flat


def versions() -> dict[str, str]:
    """`{"versions/torch": "2.8.0", ...}` of what computes."""
    found = {"versions/python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[f"versions/{package}"] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """The commit of this package's source tree, with `+changes` where files differ from it; None outside one.

    A repository around the package that does not track its files, such as a project whose virtual environment it is
    installed in, has a revision of its own and is not asked.
    """
    root = Path(lungseg3d.__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=2).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(lungseg3d.__file__).name)
        commit = git("rev-parse", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def manifest_facts(manifests: Mapping[str, Path | str]) -> dict[str, str]:
    """`{"data/train/manifest": name, "data/train/sha256": checksum of the content, whatever its layout}`."""
    facts = {}
    for side, manifest in manifests.items():
        content = read_manifest(manifest)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        facts[f"data/{side}/manifest"] = str(content.get("name", ""))
        facts[f"data/{side}/sha256"] = hashlib.sha256(text.encode()).hexdigest()
    hidden: dict[str, str] = without_paths(facts)
    return hidden


def description(network: Mapping[str, str], sides: Mapping[str, Sequence[str]]) -> str:
    """A line that says what a run is: network, size, cases of each side of the split."""
    words = []
    if network:
        words.append(f"**{network['network/class']}**, {int(network['network/parameters']) / 1e6:.2f} M parameters")
    if sides:
        words.append("cases: " + ", ".join(f"{len(ids)} {side}" for side, ids in sides.items()))
    return "; ".join(words)


def case_ids(datasets: Iterable[Any]) -> list[str]:
    """The case ids of MONAI data sets (those with a `data` list), each once, in order; nothing else of a case."""
    entries = (entry for dataset in datasets for entry in getattr(dataset, "data", ()))
    return list(dict.fromkeys(str(entry["case_id"]) for entry in entries if "case_id" in entry))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(not isinstance(item, (Mapping, list, tuple)) or _is_plain(item) for item in value)
    return not isinstance(value, Mapping)
