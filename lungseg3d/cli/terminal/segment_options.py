"""The options of `segment`, which `batch` has, too: one table, one noun.

In: a verb that takes `asked`, a `SegmentOptions`. Out: the same verb with one command line option for each field.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from lungseg3d.cli.terminal.options import (
    READING,
    Dates,
    Formats,
    ObjectDates,
    Overwrite,
    TrustBundle,
    existing_bundle,
    with_options,
)


class Roi(str, Enum):
    """Where nodules are looked for."""

    lungs = "lungs"
    full = "full"


class Precision(str, Enum):
    """Arithmetic of the networks."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Backend(str, Enum):
    """What computes the networks."""

    auto = "auto"
    torch = "torch"
    compile = "compile"
    openvino = "openvino"


def _device(name: str) -> str:
    from lungseg3d.workflows.segment.options import DEVICE_NAMES, is_device_name

    if not is_device_name(name):
        raise typer.BadParameter(f"{name!r} is none of {DEVICE_NAMES}")
    return name


Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="auto|cpu|cuda|cuda:N|mps", callback=_device, help="auto takes a GPU where there is one."
    ),
]


def _bundle(text: str) -> Any:
    return Annotated[Path | None, typer.Option(parser=existing_bundle, metavar="DIR", help=text)]


def _place(named: list[str] | None) -> list[str]:
    from lungseg3d.core import named_voxel

    for text in named or ():
        try:
            named_voxel(text)
        except ValueError as error:
            raise typer.BadParameter(f"{error}.") from error
    return named or []


_ROI = typer.Option(help="lungs: find the lungs first. full: for crops, no lungs.")
# Field of SegmentOptions -> (annotation that typer reads, default).
_SEGMENT: dict[str, tuple[Any, Any]] = {
    "roi": (Annotated[Roi, _ROI], Roi.lungs),
    "at": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--at",
                metavar="middle|X,Y,Z",
                callback=_place,
                help="Outline what lies there (voxels of one CT, from 0), and search for nothing. Repeatable.",
            ),
        ],
        None,
    ),
    "device": (Device, "auto"),
    "precision": (
        Annotated[Precision, typer.Option(help="auto takes what the device does well.")],
        Precision.auto,
    ),
    "backend": (
        Annotated[Backend, typer.Option(help="What computes. auto takes what this machine does well: see doctor.")],
        Backend.auto,
    ),
    "lung_bundle": (_bundle("Another MONAI bundle for lungs."), None),
    "nodule_bundle": (_bundle("Another one for nodules."), None),
    "uncertainty": (
        Annotated[
            bool, typer.Option("--uncertainty", help="Map where the network is unsure, and say it of each nodule.")
        ],
        False,
    ),
    "explain": (
        Annotated[bool, typer.Option("--explain", help="Map what in the CT spoke for each nodule (Grad-CAM).")],
        False,
    ),
    "operating_point": (
        Annotated[
            str,
            typer.Option(
                "--operating-point",
                metavar="default|sensitive|fp=N",
                help="Which findings are listed: about 1 (default), 4 (sensitive) or N false ones a scan; see info.",
            ),
        ],
        "default",
    ),
    "min_confidence": (
        Annotated[
            float | None,
            typer.Option(
                "--min-confidence",
                min=0.0,
                max=1.0,
                metavar="P",
                help="List findings in the lungs from this calibrated confidence on instead; 0: all.",
            ),
        ],
        None,
    ),
    "settings": (
        Annotated[
            Path | None,
            typer.Option(
                exists=True,
                dir_okay=False,
                metavar="FILE",
                help="List findings from the cut on that this file of evaluate --fit-operating-point names.",
            ),
        ],
        None,
    ),
    "max_memory": (
        Annotated[
            float | None,
            typer.Option("--max-memory", min=0.1, metavar="GIB", help="Refuse a CT that would take more, unread."),
        ],
        None,
    ),
    "trust_bundle": (TrustBundle, False),
    "format": (Formats, "nifti"),
    "dates": (ObjectDates, Dates.source),
    "overwrite": (Overwrite, False),
}


def with_segment_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """A verb whose parameter `asked` (a `SegmentOptions`) is filled from `--roi`, `--device`, `--series` and so on."""
    return functools.partial(with_options, "asked", {**_SEGMENT, **READING}, _made)(verb)


def _made(given: Mapping[str, Any]) -> Any:
    from lungseg3d.io import ReadOptions
    from lungseg3d.workflows.listing.settings import Settings, read_settings
    from lungseg3d.workflows.segment.formats import formats_of
    from lungseg3d.workflows.segment.options import SegmentOptions

    plain = {name: value.value if isinstance(value, Enum) else value for name, value in given.items()}
    reading = ReadOptions(**{name: plain.pop(name) for name in READING})
    settings, max_memory_gib = plain.pop("settings"), plain.pop("max_memory")
    cut = read_settings(settings) if settings else Settings()
    formats, at = formats_of(plain.pop("format")), tuple(plain.pop("at") or ())
    return SegmentOptions(at=at, read=reading, settings=cut, formats=formats, max_memory_gib=max_memory_gib, **plain)
