"""Weights into a network: every key and every shape, or not at all.

In: a network, a file or its bytes. Out: the network with its weights. No code of the file is run.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from lungseg3d.core import BundleError
from lungseg3d.io import read_weights, writing


def load_weights(
    network: torch.nn.Module, weights: Path, sha256: str | None = None, inside: str | None = None
) -> None:
    """Load a plain state dict into a network.

    Args:
        network: that the weights are for.
        weights: file, as `torch.save` writes it.
        sha256: that the file must have; None where nobody knows.
        inside: key under which a larger checkpoint has the state dict; a file without it is one itself.

    Raises:
        BundleError: E_CHECKPOINT_HASH, E_UNSAFE_CHECKPOINT; E_BAD_CHECKPOINT with the first five differences.
    """
    load_state(network, read_weights(weights, sha256)[0], str(weights), inside)


def load_state(network: torch.nn.Module, data: bytes, name: str, inside: str | None = None) -> None:
    """As `load_weights`, of bytes that were checked.

    Raises:
        BundleError: E_BAD_CHECKPOINT.
    """
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise BundleError("E_BAD_CHECKPOINT", f"{name} cannot be read as weights: {error}".splitlines()[0]) from error
    if inside is not None and isinstance(state, dict) and isinstance(state.get(inside), dict):
        state = state[inside]
    expected = {key: _shape(value) for key, value in network.state_dict().items()}
    found = {key: _shape(value) for key, value in state.items()} if isinstance(state, dict) else {}
    keys = {**expected, **found}
    wrong = [
        f"{key}: {expected.get(key)} expected, {found.get(key)} found"
        for key in keys
        if expected.get(key) != found.get(key)
    ]
    if wrong or not isinstance(state, dict):
        raise BundleError(
            "E_BAD_CHECKPOINT",
            f"{name} does not fit the bundle's network in {len(wrong)} places: " + "; ".join(wrong[:5]),
            "Take weights and configuration from the same bundle.",
        )
    network.load_state_dict(state, strict=True)


def store_in_half(weights: Path) -> None:
    """Replace a file of weights by the same in half precision: half the bytes. Networks load it and compute in fp32.

    Raises:
        BundleError: E_UNSAFE_CHECKPOINT; E_BAD_CHECKPOINT for a file that is no plain state dict, or weights beyond
            what half precision holds (65,504).
        OutputError: E_NO_SPACE, E_WRITE; the file of before stays.
    """
    state = torch.load(io.BytesIO(read_weights(weights)[0]), map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BundleError("E_BAD_CHECKPOINT", f"{weights} is no plain state dict", "Give weights, not a checkpoint.")
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    for key, value in halves.items():
        if not torch.isfinite(value).all():
            text = f"{weights}: {key} has values beyond half precision"
            raise BundleError("E_BAD_CHECKPOINT", text, "Keep these weights in fp32.")
    with writing(weights) as file:
        torch.save(halves, file)


def _shape(value: Any) -> tuple[int, ...] | str:
    """Shape of a tensor; the type's name of what is none, such as a checkpoint's `epoch`."""
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
