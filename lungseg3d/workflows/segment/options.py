"""What may be asked of `segment` and of `batch`, in one noun.

In: nothing. Out: `SegmentOptions`. Loads no torch, so that who only plans the work starts at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lungseg3d.core import MIDDLE, UsageError, named_voxel
from lungseg3d.io import ReadOptions
from lungseg3d.workflows.listing.settings import Settings

LATER_OPTION = {"since": "counted only where it is not the default"}
"""Metadata of a field that was added when there were batches already, see `batch_identity`."""
DEFAULT_POINT = "default"
DEVICE_NAMES = "auto, cpu, cuda, cuda:N (the GPU of this number, from 0) and mps (Apple)"
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?|mps")


def is_device_name(name: str) -> bool:
    """Whether a name is one of `DEVICE_NAMES`; the device need not be there."""
    return bool(_DEVICE.fullmatch(name))


@dataclass(frozen=True)
class SegmentOptions:
    """What may be asked of `segment`.

    Attributes:
        roi: `lungs` finds the lungs first; `full` takes the whole volume, for crops.
        device: `auto`, `cpu`, `cuda`, `cuda:1` and so on, or `mps`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        backend: `auto`, `torch`, `compile` or `openvino`.
        lung_bundle, nodule_bundle: bundle folders; None takes the shipped ones.
        overwrite: replace the results of an earlier run.
        recursive: a folder that holds several studies is several cases.
        uncertainty: look at every nodule again from all sides: a map, and two numbers of each.
        explain: Grad-CAM of every nodule, on the report and as a map.
        settings: which nodules are sure enough to be listed, and which a report marks; see `operating_point`.
        operating_point: from which confidence findings are listed: `default`, `sensitive` or `fp=N`, of the bundle's
            measured points; what is less sure is kept as candidates.
        min_confidence: calibrated confidence from which findings are listed, 0 to 1, in place of an operating point.
        at: places to be outlined, each `middle`, `X,Y,Z` or three numbers: voxels of the CT's own array, from 0. They
            are all that is outlined and listed, whatever the search would find and however sure it would be.
        read: how CTs are read.
        trust_bundle: bundles may run code, and their weights need no checksum.
        formats: `nifti`, `seg`, `sr`: how masks are written, and measurements beside CSV and JSON (`dicom_objects`).
        dates: which dates DICOM objects bear: `source`, those of the CT, so that two runs write the same bytes; or
            `now`, those of their creation.
        max_memory_gib: a CT that by its header takes more is not read; cases come one by one. None sets no limit.
        write_timings: write seconds and memory into record and report; without, two runs write the same bytes.
    """

    roi: str = "lungs"
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    lung_bundle: Path | None = None
    nodule_bundle: Path | None = None
    overwrite: bool = False
    recursive: bool = False
    uncertainty: bool = False
    explain: bool = False
    settings: Settings = field(default_factory=Settings)
    read: ReadOptions = field(default_factory=ReadOptions)
    max_memory_gib: float | None = None
    write_timings: bool = True
    trust_bundle: bool = False
    formats: tuple[str, ...] = ("nifti",)
    # In the identity of a batch only where it is not the default: batches of versions without it go on.
    dates: str = field(default="source", metadata=LATER_OPTION)
    operating_point: str = field(default=DEFAULT_POINT, metadata=LATER_OPTION)
    min_confidence: float | None = field(default=None, metadata=LATER_OPTION)
    at: tuple[str | Sequence[float], ...] = field(default=(), metadata=LATER_OPTION)


def check_places(options: SegmentOptions, is_one_ct: bool) -> None:
    """Whether the places that are named can be outlined in what is asked for.

    Args:
        options: of `segment`.
        is_one_ct: one CT is segmented; voxels of one mean nothing in another.

    Raises:
        UsageError: E_BAD_OPTION.
    """
    for named in options.at:
        try:
            voxel = named_voxel(named)
        except ValueError as error:
            raise UsageError("E_BAD_OPTION", f"{error}.", "Name the middle, or a voxel such as 31,40,22.") from error
        if voxel is not None and not is_one_ct:
            text = f"{named!r} is a voxel of one CT, and several may be segmented here."
            raise UsageError("E_BAD_OPTION", text, f"Segment that CT alone, or name {MIDDLE}.")
    is_cut = options.min_confidence is not None or options.settings.has_cut or options.operating_point != DEFAULT_POINT
    if options.at and is_cut:
        text = "What is outlined at a place that is named is listed whatever its confidence."
        raise UsageError("E_BAD_OPTION", text, "Leave operating point, least confidence and settings out.")
