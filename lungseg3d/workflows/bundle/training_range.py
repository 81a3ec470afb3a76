"""What the CTs of a training were like -> a record in its bundle; and whether a new CT is like them.

In: CTs, lungs, bundles. Out: `configs/training_range.json`; `QualityIssue`s W_OOD_*.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.analysis import (
    Acquisition,
    TrainingRange,
    measure_acquisition,
    range_json,
    range_of_json,
    segment_lungs_by_rules,
)
from lungseg3d.core import Box, BundleError, LungSegError, OutputError, QualityIssue, Volume, json_text
from lungseg3d.io import open_ct, write_text
from lungseg3d.tensors import orthogonalise, resample, sample_on

TRAINING_RANGE = "configs/training_range.json"
MOST_MEASURED = 150
"""CTs of a training that are measured: of more, these many, evenly from the list."""
_SLABS = 7
_SLAB_SLICES = 3
_COARSE_MM = 2.5
_LEAST_MM = 100.0  # below, a crop: no two whole lungs, and the rules for lungs do not hold

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RangeJudge:
    """The range of an opened bundle, by its name.

    Attributes:
        bundle: its name.
        found: its range; None where it has no record.
    """

    bundle: str
    found: TrainingRange | None

    def issues(self, ct: Acquisition) -> list[QualityIssue]:
        """W_OOD_* for a CT; none without a record."""
        return [] if self.found is None else self.found.issues(ct, self.bundle)


def read_training_range(bundle: Path, name: str) -> RangeJudge:
    """What a bundle's folder says of its training.

    Raises:
        BundleError: E_TRAINING_RANGE for a file that is none.
    """
    path = bundle / TRAINING_RANGE
    if not path.is_file():
        return RangeJudge(name, None)
    try:
        return RangeJudge(name, range_of_json(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        text = f"{path}: no record of a training's range ({type(error).__name__}: {error})."
        raise BundleError("E_TRAINING_RANGE", text, "Measure it again, or remove it.") from error


def acquisition_of(ct: Volume, labels: Volume | None, source: Mapping[str, Any]) -> Acquisition:
    """How a CT was taken; `labels` are its lungs, None for a crop."""
    return measure_acquisition(ct, _slabs(ct, labels), labels, source)


def write_training_range(bundle: Path, entries: Sequence[Mapping[str, Any]], working_mm: float) -> Path:
    """Measure the CTs of a training and keep their range in its bundle.

    Args:
        bundle: its folder.
        entries: of data lists, with `image`; one that cannot be read is left out.
        working_mm: spacing of the network's grid.

    Raises:
        OutputError: E_WRITE, E_NO_SPACE.
    """
    if len(entries) > MOST_MEASURED:
        entries = [entries[i] for i in np.linspace(0, len(entries) - 1, MOST_MEASURED).round().astype(int)]
    measured = list(_measured(entries))
    path = bundle / TRAINING_RANGE
    if not path.parent.is_dir():
        raise OutputError("E_WRITE", f"{bundle}: has no folder configs.", "Give the folder of a bundle.")
    content = {"schema_version": 1, **range_json(TrainingRange.of(measured, working_mm))}
    write_text(path, json_text(content, escape=True))
    return path


def _measured(entries: Sequence[Mapping[str, Any]]) -> Iterator[Acquisition]:
    for entry in entries:
        try:
            reading = open_ct(entry["image"])
            ct = reading.volume
            yield acquisition_of(ct, _lungs_by_rules(ct), reading.source)
        except LungSegError as error:
            logger.warning("%s: not measured (%s)", entry.get("case_id", "a case"), error.code)


def _lungs_by_rules(ct: Volume) -> Volume | None:
    """Lungs on the CT's own grid; None for a crop."""
    if min(n * mm for n, mm in zip(ct.shape, ct.spacing_mm, strict=True)) < _LEAST_MM:
        return None
    coarse = segment_lungs_by_rules(resample(orthogonalise(ct), _COARSE_MM))
    return sample_on(coarse, ct.grid, order=0, fill=0)


def _slabs(ct: Volume, labels: Volume | None) -> Iterator[np.ndarray]:
    """Axial slices at 1 mm, evenly through the lungs, as the network sees them; without lungs through everything."""
    ras = ct.as_ras()
    box = Box.whole(ras.shape)
    if labels is not None:
        box = Box.around(labels.as_ras().array) or box
    for place in np.linspace(box.start[2], box.stop[2] - 1, _SLABS + 2)[1:-1]:
        middle = round(float(place))
        first, last = max(0, middle - _SLAB_SLICES // 2), min(ras.shape[2], middle + _SLAB_SLICES // 2 + 1)
        part = ras.crop(Box((box.start[0], box.start[1], first), (box.stop[0], box.stop[1], last)))
        fine = resample(orthogonalise(part), 1.0).array
        yield fine[:, :, fine.shape[2] // 2]
