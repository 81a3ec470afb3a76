"""What a training's run is known by: the bundle's configuration that builds it, and the network.

In: the configuration of the bundle that is being built, a network. Out: dictionaries. What of a run needs neither lies
in `lungseg3d.tracking.facts`; programs that took it from here find it here.
"""

from __future__ import annotations

import inspect
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from lungseg3d.tracking.facts import (
    HIDDEN_PATH,
    case_ids,
    description,
    flat_parameters,
    git_revision,
    manifest_facts,
    resolve_plain_references,
    versions,
    without_paths,
)

__all__ = [
    "HIDDEN_PATH",
    "case_ids",
    "configuration_in_use",
    "description",
    "flat_parameters",
    "git_revision",
    "manifest_facts",
    "network_facts",
    "raw_configuration_in_use",
    "resolve_plain_references",
    "versions",
    "without_paths",
]


def configuration_in_use() -> dict[str, Any]:
    """The merged configuration of the MONAI bundle that is being built right now, overlays and overrides included.

    A component of a bundle is given its own arguments only. The parser that builds it stands further up the stack, and
    its configuration is the one truth for `monai.bundle run` and for `lungseg3d train` alike.

    Returns:
        The configuration with references (`@epochs`) to plain values resolved; empty outside a bundle.
    """
    return resolve_plain_references(raw_configuration_in_use())


def raw_configuration_in_use() -> dict[str, Any]:
    """As `configuration_in_use`, with all references as they are written."""
    frame = inspect.currentframe()
    while frame is not None:
        builder = frame.f_locals.get("self")
        if isinstance(builder, ConfigParser):
            return dict(builder.get())
        frame = frame.f_back
    return {}


def network_facts(network: nn.Module | None) -> dict[str, str]:
    """Class and size of a network, also of one that is wrapped for several processes."""
    if network is None:
        return {}
    bare = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
    counts = [(p.numel(), p.requires_grad) for p in bare.parameters()]
    return {
        "network/class": type(bare).__name__,
        "network/parameters": str(sum(n for n, _ in counts)),
        "network/trained_parameters": str(sum(n for n, trained in counts if trained)),
    }
