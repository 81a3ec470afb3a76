"""DICOM SEG and SR read back by pydicom alone, to hold them against what went in.

In: files. Out: masks by tracking UID on the grid of the source, frames, numbers. Shares no code with the writers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom


def read_frames(path: Path) -> tuple[pydicom.Dataset, list[tuple[int, np.ndarray, np.ndarray, tuple[str, int]]]]:
    """The SEG, and of each frame: segment number, position (LPS mm), mask (rows, columns), (source UID, its frame)."""
    seg = pydicom.dcmread(path)
    count = int(seg.NumberOfFrames)
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[: count * seg.Rows * seg.Columns]
    frames = []
    for mask, group in zip(
        bits.reshape(count, seg.Rows, seg.Columns) > 0, seg.PerFrameFunctionalGroupsSequence, strict=True
    ):
        source: tuple[str, int] = ("", 0)
        if group.get("DerivationImageSequence"):
            item = group.DerivationImageSequence[0].SourceImageSequence[0]
            source = (str(item.ReferencedSOPInstanceUID), int(item.get("ReferencedFrameNumber", 0) or 0))
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        frames.append((number, position, mask, source))
    return seg, frames


def read_masks(path: Path, affine_ras: np.ndarray, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Mask (X, Y, Z) of each segment by its tracking UID, put where its position says on the grid of the source.

    Raises:
        AssertionError: a frame is empty, or its corner lies further than 0.05 mm from a corner of a slice.
    """
    seg, frames = read_frames(path)
    first_mm, step_mm = affine_ras[:3, 3], affine_ras[:3, 2]
    corners_lps = (first_mm + np.arange(shape[2])[:, None] * step_mm) * (-1, -1, 1)
    uids = {int(s.SegmentNumber): str(s.TrackingUID) for s in seg.SegmentSequence}
    masks = {uid: np.zeros(shape, bool) for uid in uids.values()}
    for number, position, mask, _ in frames:
        away = np.linalg.norm(corners_lps - position, axis=1)
        assert away.min() < 0.05
        assert mask.any()
        masks[uids[number]][:, :, int(away.argmin())] = mask.T
    return masks


def read_measurements(path: Path) -> dict[str, dict[str, Any]]:
    """Of each group of an SR of TID 1500 by its tracking UID: `{(code, derivation): (number, unit)}`, and other items.

    Keys beside the pairs: `id`, `segment` (number), `seg` (instance UID), `finding`, `site`, `side`, `words`, `time`
    (name, order).
    """
    groups = {}
    for container in pydicom.dcmread(path).ContentSequence:
        if _name(container) != "126010":
            continue
        for group in container.ContentSequence:
            values: dict[Any, Any] = {"words": {}}
            for item in group.ContentSequence:
                _take(item, values)
            groups[values.pop("uid")] = values
    return groups


def _take(item: pydicom.Dataset, values: dict[Any, Any]) -> None:
    name = _name(item)
    if name == "126073":
        values["time"] = (values["time"][0], float(item.MeasuredValueSequence[0].NumericValue))
    elif item.ValueType == "NUM":
        measured = item.MeasuredValueSequence[0]
        inner = {_name(i): i for i in item.get("ContentSequence", [])}
        derivation = inner["121401"].ConceptCodeSequence[0].CodeValue if "121401" in inner else ""
        unit = measured.MeasurementUnitsCodeSequence[0]
        values[name, derivation] = (float(measured.NumericValue), f"{unit.CodingSchemeDesignator}:{unit.CodeValue}")
        for key in ("371886008", "371885007"):  # half-widths of the interval
            if key in inner:
                values[name, key] = float(inner[key].MeasuredValueSequence[0].NumericValue)
    elif name == "C2348792":
        values["time"] = (item.TextValue, 0.0)
    elif name == "112039":
        values["id"] = item.TextValue
    elif name == "112040":
        values["uid"] = str(item.UID)
    elif item.ValueType == "IMAGE":
        reference = item.ReferencedSOPSequence[0]
        values["seg"] = str(reference.ReferencedSOPInstanceUID)
        values["segment"] = int(reference.ReferencedSegmentNumber)
    elif item.ValueType == "CODE":
        code = item.ConceptCodeSequence[0]
        if name == "121071":
            values["finding"] = code.CodeValue
        elif name == "363698007":
            values["site"] = code.CodeValue
            values["side"] = next((i.ConceptCodeSequence[0].CodeValue for i in item.get("ContentSequence", [])), "")
        else:
            values["words"][name] = code.CodeMeaning


def _name(item: pydicom.Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue) if "ConceptNameCodeSequence" in item else ""
