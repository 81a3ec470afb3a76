"""What may be asked of `segment` and of `batch`, in one noun.

In: nothing. Out: `SegmentOptions`. Loads no torch, so that who only plans the work starts at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from lungseg3d.io import ReadOptions
from lungseg3d.workflows.settings import Settings

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
