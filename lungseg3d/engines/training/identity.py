"""Which training a checkpoint belongs to: what must be the same for it to go on.

In: a trainer, its configuration, its data. Out: plain facts, and how two sets of them differ.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from torch import nn

from lungseg3d.core import LungSegError
from lungseg3d.data import read_manifest
from lungseg3d.io import sha256_of

_MOST_DIFFERENCES = 4
_LONGEST_VALUE = 100
_FREE = {
    *("bundle_root", "dataset_dir", "nodule_dir", "output_dir", "cache_dir", "memory_map"),  # where things lie
    *("epochs", "patience", "val_interval"),  # how long it trains, and when it looks at itself
    *("device", "compile", "backend", "is_not_rank0", "rank_seed"),  # by what it computes
    *("resume", "parent_run", "run_name", "initialize", "run", "finalize", "imports"),
}
"""Keys of a configuration that may differ between the parts of one training."""
_ONLY_SHAPE_LABELS = {"marks", "readers"}
"""Files of a case that say nothing but through its labels, which are compared themselves: a manifest that names them
is no other training to one that does without."""
_ONLY_WATCH = ("RunTracking", "StatsHandler", "ExitCodes", "RunCheckpoints", "ValidationHandler")
"""Handlers that change nothing of what is learned."""


def bare(network: nn.Module) -> nn.Module:
    """The network itself, out of the wrappers of DistributedDataParallel and torch.compile."""
    while True:
        inner = getattr(network, "_orig_mod", None)
        if inner is None and isinstance(network, nn.parallel.DistributedDataParallel):
            inner = network.module
        if inner is None:
            return network
        network = inner


def training_identity(
    trainer: Any, settings: Mapping[str, Any], configuration: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Facts about network, loss, optimiser, cases and settings of a MONAI trainer; what they say fits into JSON.

    Args:
        trainer: before its first iteration or later.
        settings: that must be the same.
        configuration: as `configuration_identity` gives it; None outside a bundle.
    """
    network = bare(trainer.network)
    case_ids = getattr(trainer.data_loader, "case_ids", None)
    contents = getattr(trainer.data_loader, "case_contents", None)
    return {
        "network": type(network).__name__,
        "weights": {name: list(tensor.shape) for name, tensor in network.state_dict().items()},
        "loss": type(trainer.loss_function).__name__,
        "optimizer": type(trainer.optimizer).__name__,
        "cases": case_ids() if callable(case_ids) else {},
        "batches_per_epoch": trainer.state.epoch_length,
        "processes": idist.get_world_size(),
        "settings": {key: _plain(value) for key, value in settings.items()},
        "configuration": dict(configuration or {}),
        "contents": contents() if callable(contents) else {},
    }


def configuration_identity(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What of a bundle's merged configuration decides what is learned: nested keys joined by `::` -> values.

    Left out are places, the length of the training, and handlers that only watch. A manifest is its cases, a file of
    weights its SHA-256, a folder only that it is one: what is moved or spelled otherwise stays the same.

    Args:
        configuration: with references as they are written, so that a value stands under the key that sets it.
    """
    kept = {key: value for key, value in configuration.items() if key not in _FREE and not key.startswith("_")}
    if isinstance(kept.get("train"), Mapping):
        handlers = [one for one in kept["train"].get("handlers") or [] if _changes_training(one)]
        kept["train"] = {**kept["train"], "handlers": handlers}
    if isinstance(kept.get("validate"), Mapping):
        kept["validate"] = {key: value for key, value in kept["validate"].items() if key != "handlers"}
    return {key: _content_of(key, value) for key, value in _flat_configuration(kept) if key}


def _changes_training(handler: Any) -> bool:
    name = str(handler.get("_target_", "")) if isinstance(handler, Mapping) else ""
    return name.rpartition(".")[2] not in _ONLY_WATCH


def _flat_configuration(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            if key not in ("_desc_", "val_handlers"):
                yield from _flat_configuration(value, f"{prefix}::{key}" if prefix else str(key))
    elif isinstance(node, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in node):
        for number, value in enumerate(node):
            yield from _flat_configuration(value, f"{prefix}::{number}")
    else:
        yield prefix, _plain(node)


def _content_of(key: str, value: Any) -> Any:
    """The value, or what lies under the path that it is."""
    if not isinstance(value, str) or value.startswith(("$", "@", "%")):
        return value
    last = key.rpartition("::")[2]
    if last.endswith("manifest"):
        try:
            cases = [
                {**case, "files": sorted(set(case["files"]) - _ONLY_SHAPE_LABELS)}
                for case in read_manifest(value)["cases"]
            ]
        except LungSegError:
            return value
        for case in cases:
            case.pop("sha256", None)  # of files; the voxels themselves are compared
        return f"cases with SHA-256 {_short_sha256(json.dumps(cases, sort_keys=True).encode())}"
    if os.sep in value or last in ("pretrained", "load_path", "path"):
        path = Path(value)
        if path.is_dir():
            return "a folder"
        if path.is_file():
            return f"a file with SHA-256 {sha256_of(path)[:16]}"
    return value


def _short_sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """How two identities differ, in words, at most four of them; empty where they do not."""
    if there.get("configuration") and here.get("configuration"):  # it has them all, under the names that set them
        there, here = ({key: v for key, v in facts.items() if key != "settings"} for facts in (there, here))
    # A checkpoint of an older version says nothing of these.
    here = {key: value for key, value in here.items() if key in there or key not in ("configuration", "contents")}
    flat_there, flat_here = dict(_flat(there)), dict(_flat(here))
    keys = [*flat_there, *(key for key in flat_here if key not in flat_there)]
    found = []
    for key in keys:
        one, other = flat_there.get(key), flat_here.get(key)
        if one == other:
            continue
        if key.startswith("contents::"):
            one, other = (set(side) if isinstance(side, list) else set() for side in (one, other))
            changed = sorted({text.rpartition(" ")[0] for text in one ^ other})
            found.append(f"{key}: other voxels or labels in {len(changed)} cases, such as {changed[0]}")
        elif key.startswith("cases::") and isinstance(one, list) and isinstance(other, list):
            gone, new = [c for c in one if c not in other], [c for c in other if c not in one]
            example = f", {gone[0]} only there" if gone else ""
            example += f", {new[0]} only here" if new else ""
            found.append(f"{key}: {len(one)} there, {len(other)} here{example or ', in another order'}")
        else:
            name = key.removeprefix("configuration::")
            found.append(f"{name}: {_said(one)} there, {_said(other)} here")
    more = f"; and {len(found) - _MOST_DIFFERENCES} more" if len(found) > _MOST_DIFFERENCES else ""
    return "; ".join(found[:_MOST_DIFFERENCES]) + more


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}::")
        else:
            yield f"{prefix}{key}", value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _said(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."
