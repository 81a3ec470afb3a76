"""Rows D44, D45: enhanced multi-frame CT, whose geometry lies in functional groups, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from tests.corpus.case import Made, row
from tests.corpus.phantom import Series

_ENHANCED, _LEGACY = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"
_SHARED = {
    "PlaneOrientationSequence": ["ImageOrientationPatient"],
    "PixelMeasuresSequence": ["PixelSpacing", "SliceThickness"],
    "PixelValueTransformationSequence": ["RescaleSlope", "RescaleIntercept", "RescaleType"],
}


def multi_frame(series: Series, order: Sequence[int], sop_class: str = _ENHANCED) -> Dataset:
    """The slices as one multi-frame CT, frames in the given order."""
    d = series.slices[0].twin().dataset
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = sop_class
    d.SharedFunctionalGroupsSequence = [_shared(d)]
    d.PerFrameFunctionalGroupsSequence = [_own(series.slices[k].dataset, n) for n, k in enumerate(order)]
    for keyword in ("ImagePositionPatient", "SliceLocation", *(tag for tags in _SHARED.values() for tag in tags)):
        delattr(d, keyword)
    d.NumberOfFrames = len(order)
    d.PixelData = b"".join(series.slices[k].dataset.PixelData for k in order)
    return d


def _item(**tags: object) -> Dataset:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item


def _shared(d: Dataset) -> Dataset:
    return _item(**{group: [_item(**{tag: getattr(d, tag) for tag in tags})] for group, tags in _SHARED.items()})


def _own(one: Dataset, number: int) -> Dataset:
    return _item(
        FrameContentSequence=[_item(StackID="1", InStackPositionNumber=number + 1, DimensionIndexValues=[number + 1])],
        PlanePositionSequence=[_item(ImagePositionPatient=one.ImagePositionPatient)],
        CTImageFrameTypeSequence=[_item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])],
    )


def _made(shuffled: bool, sop_class: str = _ENHANCED, rle: bool = False) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series()
        order = np.random.default_rng(1).permutation(40).tolist() if shuffled else list(range(40))
        dataset = multi_frame(series, order, sop_class)
        if rle:
            dataset.compress(RLELossless, generate_instance_uid=False)
        (folder / "ct").mkdir()
        dataset.save_as(folder / "ct" / "enhanced.dcm")
        return Made(folder / "ct" / "enhanced.dcm", series.volume)

    return make


def _frame_missing(folder: Path) -> Made:
    series = Series()
    dataset = multi_frame(series, [k for k in range(40) if k != 19])
    dataset.save_as(folder / "enhanced.dcm")
    return Made(folder / "enhanced.dcm")


def _frames_without_place(folder: Path) -> Made:
    """As old converters write it: many frames, one position."""
    series = Series()
    d = series.slices[0].twin().dataset
    d.NumberOfFrames = 40
    d.PixelData = b"".join(one.dataset.PixelData for one in series.slices)
    d.save_as(folder / "frames.dcm")
    return Made(folder / "frames.dcm")


CASES = (
    row("D44", "enhanced CT", _made(False)),
    row("D44-rle", "enhanced CT, RLE", _made(False, rle=True)),
    row("D44-legacy", "legacy-converted enhanced CT", _made(False, _LEGACY)),
    row("D44-gap", "enhanced CT without one frame", _frame_missing, "E_MISSING_SLICES", says="z = -2.5 mm"),
    row("D44-bare", "40 frames, one position", _frames_without_place, "E_MISSING_TAG", says="40 frames"),
    row("D45", "enhanced CT, frames shuffled", _made(True)),
    row("D45-rle", "enhanced CT, frames shuffled, RLE", _made(True, rle=True)),
)
