"""Values that are given to a training's configuration by `--set`, looked at before data are read.

In: a key, its value, what stands there without it. Out: nothing, or an error that names the key and the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from monai.bundle import ConfigParser

from lungseg3d.core import BundleError, UsageError
from lungseg3d.tensors import PRECISIONS, obstacle_to, resolve_precision
from lungseg3d.workflows.segment.models import resolve_device
from lungseg3d.workflows.segment.options import DEVICE_NAMES, is_device_name

_Test = tuple[Callable[[Any], bool], str]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _all(value: Any, test: Callable[[Any], bool]) -> bool:
    """Of one value, or of each of three."""
    return all(map(test, value)) and len(value) == 3 if isinstance(value, (list, tuple)) else test(value)


_COUNT: _Test = (lambda v: _is_whole(v) and v >= 1, "a whole number of 1 or more")
_INDEX: _Test = (lambda v: _is_whole(v) and v >= 0, "a whole number of 0 or more")
_POSITIVE: _Test = (lambda v: _is_number(v) and v > 0, "a number above 0, with a point: 0.001")
_SHARE: _Test = (lambda v: _is_number(v) and 0 <= v <= 1, "a number from 0 to 1")
_TESTS: Mapping[str, _Test] = {
    **dict.fromkeys(
        ("epochs", "max_epochs", "batches_per_epoch", "batch_size", "val_interval", "accumulation", "interval"), _COUNT
    ),
    **dict.fromkeys(("in_channels", "out_channels", "num_workers"), _INDEX),
    "seed": (lambda v: _is_whole(v) and 0 <= v < 2**32, "a whole number from 0 to 4294967295"),
    "fold": _INDEX,
    "patience": _COUNT,
    **dict.fromkeys(("learning_rate", "lr"), _POSITIVE),
    "weight_decay": (lambda v: _is_number(v) and v >= 0, "a number of 0 or more"),
    "max_gradient_norm": _POSITIVE,
    "spacing_mm": (lambda v: _all(v, _POSITIVE[0]), "millimetres above 0, one number or three"),
    "patch_size": (lambda v: _all(v, _COUNT[0]), "voxels, one whole number or three of them"),
    "roi_size": (lambda v: _all(v, _COUNT[0]), "voxels, one whole number or three of them"),
    "ema": (lambda v: _is_number(v) and 0 <= v < 1, "a number from 0 to below 1"),
    **dict.fromkeys(("share", "nodule_share", "host_share", "phantom_share", "probability", "dropout"), _SHARE),
    "foreground": _SHARE,
    "hu_range": (
        lambda v: isinstance(v, (list, tuple)) and len(v) == 2 and all(map(_is_number, v)) and v[0] < v[1],
        "two numbers, the lower first: [-1000,400]",
    ),
    "precision": (lambda v: v in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "device": (lambda v: isinstance(v, str) and is_device_name(v), f"one of {DEVICE_NAMES}"),
}
"""Last part of a key -> what its value must be."""


_MAY_BE_NULL = ("fold", "patience", "max_gradient_norm")


def check_value(key: str, text: str, value: Any, before: Any) -> None:
    """Refuse a value that no training takes at this key.

    Args:
        key: with `::` between its parts.
        text: as the command line has it.
        value: what the configuration makes of it.
        before: the value that it replaces.

    Raises:
        UsageError: E_VALUE.
    """
    if _has_expression(value):
        return  # nobody knows its value yet; whether it may be evaluated is asked elsewhere
    last = key.replace("#", "::").split("::")[-1]
    if value is None and (before is None or last in _MAY_BE_NULL):
        return
    test, words = _TESTS.get(last, _like(before))
    if not test(value):
        raise UsageError("E_VALUE", f"--set {key}={text}: {key} is {words}.", "Give another value.")


def _has_expression(value: Any) -> bool:
    """Whether a value, or one inside of it, is an expression, a reference or a macro of a MONAI configuration."""
    if isinstance(value, Mapping):
        return any(map(_has_expression, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_expression, value))
    return isinstance(value, str) and value.startswith(("$", "@", "%"))


def check_device(parser: ConfigParser) -> None:
    """Refuse a device that is not there and a precision that it does not compute.

    Raises:
        BundleError, UsageError: E_DEVICE.
        BundleError: E_PRECISION.
    """
    if "device" not in parser:
        return
    device = str(parser.get_parsed_content("device"))
    if device != "cpu":
        resolve_device(device, "--set device=")
    precision = parser.get_parsed_content("precision") if "precision" in parser else "fp32"
    if precision in ("auto", "fp32") or precision not in PRECISIONS:
        return
    if obstacle := obstacle_to("torch", resolve_precision(precision, device), device):
        text = f"--set precision={precision}: PyTorch does not compute it on {device} here: {obstacle}."
        raise BundleError("E_PRECISION", text, "Use --set precision=auto or fp32.")


def _like(before: Any) -> _Test:
    """What may stand in place of a value of the configuration: one of its kind."""
    if isinstance(before, bool):
        return (lambda v: isinstance(v, bool)), "true or false"
    if isinstance(before, int):
        return _is_whole, f"a whole number, such as {before}"
    if isinstance(before, float):
        return _is_number, f"a number, such as {before:g}"
    if isinstance(before, list) and before and all(map(_is_number, before)):
        return (lambda v: isinstance(v, (list, tuple)) and all(map(_is_number, v))), f"numbers, such as {before}"
    return (lambda v: True), ""
