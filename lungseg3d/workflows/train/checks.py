"""What can be known to fail before a training starts: misspelt keys, missing data, a network with other classes.

In: a bundle's configuration with overlays and overrides. Out: nothing, or one error that says the way out.
"""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser

from lungseg3d.core import BundleError, LungSegError, UsageError
from lungseg3d.data import read_manifest
from lungseg3d.inference.prediction.configuration import parser_of
from lungseg3d.io import CheckedBundle, check_bundle, check_override, read_weights
from lungseg3d.tensors import load_state
from lungseg3d.tracking.facts import HIDDEN_PATH
from lungseg3d.workflows.prepare.faults import joined_warnings, label_faults, manifest_faults, refuse_faults
from lungseg3d.workflows.train.values import check_device, check_value

_DATA_LISTS = "lungseg3d.data.load_datalist"
_OUR_LOADER = "lungseg3d.engines.PretrainedWeights"
_LOADERS = {
    "CheckpointLoader": "load_path",
    "monai.handlers.CheckpointLoader": "load_path",
    _OUR_LOADER: "path",
}
"""Handlers that load weights, and the argument that is their file."""


def training_configuration(
    configs: Sequence[Path | str], root: Path, overrides: Mapping[str, str], *, fold: int | None = None, **more: Any
) -> ConfigParser:
    """The configuration that `python -m monai.bundle run` would use: files in order, then overrides.

    Args:
        configs: `train.json` and overlays, later ones over earlier ones.
        root: the bundle's folder.
        overrides, fold, more: as in `configuration_of`.

    Raises:
        BundleError: E_CONFIGURATION; E_UNTRUSTED_CONFIG for an override that could run code.
        UsageError: as `configuration_of`.
    """
    return configuration_of(check_bundle(root, configs), overrides, fold=fold, **more)


def configuration_of(
    checked: CheckedBundle, overrides: Mapping[str, str], *, fold: int | None = None, **more: Any
) -> ConfigParser:
    """As `training_configuration`, of contents that have been read and checked.

    Args:
        checked: the bundle.
        overrides: keys (`a::b` for nested ones) and values, both as the command line has them.
        fold: held-out fold; None for what the configuration says.
        **more: further top-level keys, as they are.

    Raises:
        BundleError: E_CONFIGURATION; E_UNTRUSTED_CONFIG for an override that could run code.
        UsageError: E_NO_KEY for an unknown key, with the nearest; E_VALUE for a value that cannot be; E_NO_FOLD for a
            fold of a bundle without folds.
    """
    parser = parser_of(checked)
    for key, text in overrides.items():
        _check_key(parser, key)
        value = DefaultParseValue(text)
        check_override(key, value)
        check_value(key, text, value, parser.get(key.replace("::", "#"), None))
        parser[key.replace("::", "#")] = value
    if fold is not None:
        if "fold" not in parser:
            found = f"{checked.root.name} has no folds: it validates on a data set of its own"
            raise UsageError("E_NO_FOLD", found, "Leave the fold out.")
        parser["fold"] = fold
    for key, value in more.items():
        parser[key] = value
    return parser


def check_training(parser: ConfigParser, root: Path) -> None:
    """Look at the weights that it starts from and for the data, and count the classes, before a network is built.

    Every label of every data list is read: what `prepare check` refuses, no training learns. Warnings go to stderr.

    Raises:
        LungSegError: E_MANIFEST, E_MISSING_DATA, E_SPLIT_LEAK or E_DUPLICATE_CASE of a data list; E_LABEL_VALUES,
            E_LABEL_INVERTED, and what reading a label raises, with all cases that have it.
        UsageError: E_NO_FOLD when the fold holds out no case.
        LungSegError: E_DEVICE, E_PRECISION for what this machine does not have or compute.
        BundleError: E_UNSAFE_CHECKPOINT, E_BAD_CHECKPOINT for weights to start from; E_CLASS_COUNT when the network's
            classes are not those of the bundle's metadata.
    """
    check_device(parser)
    for path, node in _nodes(parser.get()):
        if isinstance(node, Mapping) and node.get("_target_") == _DATA_LISTS:
            _check_data(parser, path)
        if isinstance(node, Mapping) and node.get("_target_") in _LOADERS:
            _check_weights(parser, path)
    fold = parser.get_parsed_content("fold") if "fold" in parser else None
    if fold is not None and not held_out(parser):
        raise UsageError("E_NO_FOLD", f"fold {fold} holds out no case", "Give a fold that the manifest has.")
    classes = parser.get("_meta_#network_data_format#outputs#pred#num_channels")
    found = _shallowest(parser.get("network_def"), "out_channels")
    if None not in (classes, found) and classes != found:
        raise BundleError(
            "E_CLASS_COUNT",
            f"the network has {found} output channels, {root.name} has {classes} classes, background included",
            f"Set out_channels to {classes} in network_def, or take an overlay of this bundle.",
        )


def held_out(parser: ConfigParser) -> list[str]:
    """Ids of the cases that the bundle validates on."""
    return [case["case_id"] for case in _data_list(parser, "validate#dataset#data")]


def seen_in_training(parser: ConfigParser) -> list[tuple[str, int | None]]:
    """(manifest, fold held out of it) of each data list that a training sees; None for none held out.

    A training that is stopped early has seen the cases it validates on, too: they chose its weights.
    """
    chosen = parser.get("patience") is not None
    used = []
    for part in ("train", "validate") if chosen else ("train",):
        for path, node in _nodes(parser.get(part), part):
            if isinstance(node, Mapping) and node.get("_target_") == _DATA_LISTS:
                fold = parser.get_parsed_content(f"{path}#fold") if "fold" in node and not chosen else None
                used.append((parser.get_parsed_content(f"{path}#manifest"), fold))
    return list(dict.fromkeys(used))


def data_lists(parser: ConfigParser) -> Iterator[tuple[Mapping[str, Any], list[dict[str, Any]]]]:
    """(manifest, entries) of each data list that a training learns from or validates on."""
    for path, node in _nodes(parser.get()):
        if isinstance(node, Mapping) and node.get("_target_") == _DATA_LISTS:
            yield read_manifest(parser.get_parsed_content(f"{path}#manifest")), _data_list(parser, path)


def training_entries(parser: ConfigParser) -> list[dict[str, Any]]:
    """The entries of all data lists that a training learns from, each image once."""
    found: dict[str, dict[str, Any]] = {}
    for path, node in _nodes(parser.get("train"), "train"):
        if isinstance(node, Mapping) and node.get("_target_") == _DATA_LISTS:
            for entry in _data_list(parser, path):
                found.setdefault(str(entry["image"]), entry)
    return list(found.values())


def _check_data(parser: ConfigParser, path: str) -> None:
    """The manifest of a data list, and the labels of its cases."""
    entries = _data_list(parser, path)
    manifest, root = (parser.get_parsed_content(f"{path}#{key}") for key in ("manifest", "dataset_dir"))
    content = read_manifest(manifest)
    chosen = {entry["case_id"] for entry in entries}
    faults = [fault for fault in manifest_faults(content, Path(root)) if fault.case_id in ("", *chosen)]
    refuse_faults(faults, str(content.get("name", manifest)))
    faults += label_faults(content, entries)
    refuse_faults(faults, str(content.get("name", manifest)))
    for issue in joined_warnings(faults):
        print(f"{issue.code}: {issue.message} {issue.remedy}".rstrip(), file=sys.stderr)


def hold_weights(parser: ConfigParser) -> None:
    """Give every `CheckpointLoader` the bytes of its file, read once and checked, in place of the file's path.

    `PretrainedWeights` reads its file once by itself.

    Raises:
        BundleError: E_UNSAFE_CHECKPOINT, E_BAD_CHECKPOINT.
    """
    for path, node in list(_nodes(parser.get())):
        if isinstance(node, Mapping) and node.get("_target_") in _LOADERS and node["_target_"] != _OUR_LOADER:
            data = _check_weights(parser, path)
            if data is not None:
                parser[f"{path}#load_path"] = HeldWeights(data)


class HeldWeights(io.BytesIO):
    """Bytes of weights where a path is expected; as text, a path that is not shown."""

    def __str__(self) -> str:
        return HIDDEN_PATH


def _check_weights(parser: ConfigParser, path: str) -> bytes | None:
    """The file that a handler would load, which holds tensors and nothing else and fits; None for a disabled one."""
    if "_disabled_" in parser[path] and parser.get_parsed_content(f"{path}#_disabled_"):
        return None
    target = parser[path]["_target_"]
    weights = Path(parser.get_parsed_content(f"{path}#{_LOADERS[target]}"))
    data, _ = read_weights(weights)
    if target == _OUR_LOADER:
        load_state(parser.get_parsed_content("network_def"), data, str(weights), inside="model")
    return data


def _data_list(parser: ConfigParser, path: str) -> list[dict[str, Any]]:
    """The data list at `path` of a configuration; what it refuses is raised as it was, not as MONAI wraps it."""
    try:
        cases: list[dict[str, Any]] = parser.get_parsed_content(path)
        return cases
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, LungSegError):
            cause = cause.__cause__
        raise (cause or error) from None


def _check_key(parser: ConfigParser, key: str) -> None:
    """Every part of `a::b::c` must be there, or be an argument of what is there."""
    place, node = "", parser.get()
    for part in key.replace("#", "::").split("::"):
        known = _names_in(node)
        if part not in known:
            nearest = get_close_matches(part, known, n=1)
            hint = f"Did you mean {place + nearest[0]}?" if nearest else f"There are: {', '.join(known) or 'none'}."
            raise UsageError("E_NO_KEY", f"the configuration has no key {key}", hint)
        node = node.get(part) if isinstance(node, Mapping) else node[int(part)]
        place += f"{part}::"


def _names_in(node: Any) -> list[str]:
    """Keys of a mapping and arguments of its target; indices of a list; of a reference or a value, nothing."""
    if isinstance(node, Mapping):
        return sorted({*map(str, node), *_arguments(node)})
    return [str(i) for i in range(len(node))] if isinstance(node, list) else []


def _arguments(node: Mapping[str, Any]) -> set[str]:
    if "_target_" not in node:
        return set()
    try:
        component = ConfigComponent(config=dict(node), locator=ComponentLocator())
        name = component.resolve_module_name()
        target = _imported(name) if isinstance(name, str) else name
        groups = getattr(target, "keyword_groups", ())  # what its **keywords are the fields of
        own = {*inspect.signature(target).parameters, *(field.name for group in groups for field in fields(group))}
        return {"_disabled_", "_requires_", "_mode_", *own}
    except (ImportError, AttributeError, TypeError, ValueError):
        return set()


def _imported(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(__import__(module, fromlist=[attribute]), attribute)


def _nodes(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every node of a configuration with its path, the outer ones first."""
    yield path, node
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from _nodes(value, f"{path}#{key}" if path else str(key))


def _shallowest(node: Any, key: str) -> Any:
    """The value of `key` that lies least deep below `node`, or None."""
    holders = [(path.count("#"), inner) for path, inner in _nodes(node) if isinstance(inner, Mapping)]
    found = [(depth, inner[key]) for depth, inner in holders if key in inner]
    return min(found, key=lambda item: item[0])[1] if found else None
