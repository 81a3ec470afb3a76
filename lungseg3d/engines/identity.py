"""Which training a checkpoint belongs to: what must be the same for it to go on.

In: a trainer and the settings that its configuration names. Out: plain facts, and how two sets of them differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ignite.distributed as idist
from torch import nn

_MOST_DIFFERENCES = 4


def bare(network: nn.Module) -> nn.Module:
    """The network itself, out of the wrappers of DistributedDataParallel and torch.compile."""
    while True:
        inner = getattr(network, "_orig_mod", None)
        if inner is None and isinstance(network, nn.parallel.DistributedDataParallel):
            inner = network.module
        if inner is None:
            return network
        network = inner


def training_identity(trainer: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about network, loss, optimiser, cases and settings of a MONAI trainer; what they say fits into JSON."""
    network = bare(trainer.network)
    case_ids = getattr(trainer.data_loader, "case_ids", None)
    return {
        "network": type(network).__name__,
        "weights": {name: list(tensor.shape) for name, tensor in network.state_dict().items()},
        "loss": type(trainer.loss_function).__name__,
        "optimizer": type(trainer.optimizer).__name__,
        "cases": case_ids() if callable(case_ids) else {},
        "batches_per_epoch": trainer.state.epoch_length,
        "processes": idist.get_world_size(),
        "settings": {key: _plain(value) for key, value in settings.items()},
    }


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """How two identities differ, in words, at most four of them; empty where they do not."""
    flat_there, flat_here = dict(_flat(there)), dict(_flat(here))
    keys = [*flat_there, *(key for key in flat_here if key not in flat_there)]
    found = []
    for key in keys:
        one, other = flat_there.get(key), flat_here.get(key)
        if one == other:
            continue
        if key.startswith("cases::") and isinstance(one, list) and isinstance(other, list):
            gone, new = [c for c in one if c not in other], [c for c in other if c not in one]
            example = f", {gone[0]} only there" if gone else ""
            example += f", {new[0]} only here" if new else ""
            found.append(f"{key}: {len(one)} there, {len(other)} here{example or ', in another order'}")
        else:
            found.append(f"{key}: {_said(one)} there, {_said(other)} here")
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
    return "nothing" if value is None else str(value)
