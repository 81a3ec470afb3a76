"""`demo`: a thorax phantom is made, written as a DICOM series, segmented, and held against what was planted.

In: a folder and a seed. Out: the series, the results, `planted.csv`, and how many nodules were found.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungseg3d.core import CaseResult, Volume
from lungseg3d.data import Phantom, PhantomSpec, make_phantom
from lungseg3d.io import SeriesSpec, make_folder, placing_folder, read_labels, write_dicom_series, write_text
from lungseg3d.workflows.segment import Progress, SegmentOptions, segment_cases

LEAST_DIAMETER_MM = 5.0


@dataclass(frozen=True)
class DemoResult:
    """What the demo made and found.

    Attributes:
        folder: everything lies here.
        report: the HTML page.
        planted: nodules of at least 5 mm in the phantom.
        found: those of them that a segmented nodule overlaps.
        unplanted: segmented nodules that overlap nothing planted, of any size: false positives.
        result: the case's record.
    """

    folder: Path
    report: Path
    planted: int
    found: int
    unplanted: int
    result: CaseResult


def demo(out: Path | str, seed: int = 1, on_progress: Progress | None = None) -> DemoResult:
    """Make a phantom, segment it, and compare; a second run into the same folder replaces the first.

    Raises:
        OutputError: the folder cannot be written.
    """
    out = Path(out)
    name = f"phantom-{seed:04d}"
    if on_progress:
        on_progress(name, "make the phantom", 0.0)
    phantom = make_phantom(PhantomSpec(seed=seed))
    series = out / "dicom" / name
    make_folder(series.parent)
    with placing_folder(series, replace=True) as stage:
        write_dicom_series(stage, phantom.ct, spec=SeriesSpec(seed=name))
    (out / "planted.csv").unlink(missing_ok=True)
    (result,) = segment_cases([series], out / "results", SegmentOptions(overwrite=True), on_progress)
    folder = out / "results" / result.case_id
    hits: dict[int, float] = {}
    unplanted = 0
    if result.status == "done":
        nodules = read_labels(folder / "nodules.nii.gz").as_ras()
        hits = _overlaps(phantom, nodules)
        truth = phantom.nodule_map.as_ras().array
        unplanted = len(result.nodules) - len(np.unique(nodules.array[(truth > 0) & (nodules.array > 0)]))
        write_text(out / "planted.csv", _planted_csv(phantom, hits))
    planted = [nodule for nodule in phantom.nodules if nodule.equivalent_diameter_mm >= LEAST_DIAMETER_MM]
    found = sum(hits.get(nodule.id, 0.0) > 0 for nodule in planted)
    return DemoResult(out, folder / "report.html", len(planted), found, unplanted, result)


def _overlaps(phantom: Phantom, nodules: Volume) -> dict[int, float]:
    """Share of each planted nodule that was segmented, by id; `nodules` in RAS order."""
    truth = phantom.nodule_map.as_ras().array
    predicted = nodules.array > 0
    return {nodule.id: float(predicted[truth == nodule.id].mean()) for nodule in phantom.nodules}


def _planted_csv(phantom: Phantom, hits: dict[int, float]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "equivalent_diameter_mm", "volume_mm3", "texture", "shape", "side", "segmented_share"])
    for nodule in phantom.nodules:
        writer.writerow(
            [
                nodule.id,
                f"{nodule.equivalent_diameter_mm:.1f}",
                f"{nodule.volume_mm3:.0f}",
                nodule.spec.texture,
                nodule.spec.shape,
                nodule.side,
                f"{hits.get(nodule.id, 0.0):.2f}",
            ]
        )
    return text.getvalue()
