"""`demo`: a thorax phantom is made, written as a DICOM series, segmented, and held against what was planted.

In: a folder and a seed. Out: the series, the results, `planted.csv`, and how many nodules are listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungseg3d.core import CaseResult
from lungseg3d.core.progress import OnProgress
from lungseg3d.data import Phantom, PhantomSpec, make_phantom
from lungseg3d.io import (
    CaseFolder,
    SeriesSpec,
    make_folder,
    placing_folder,
    read_labels,
    write_dicom_series,
    write_text,
)
from lungseg3d.report import csv_text
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases

LEAST_DIAMETER_MM = 5.0


@dataclass(frozen=True)
class DemoResult:
    """What the demo made and found.

    Attributes:
        folder: everything lies here.
        report: the HTML page.
        planted: nodules of at least 5 mm in the phantom.
        found: those of them that a listed nodule overlaps.
        among_candidates: those that no listed nodule overlaps, and a candidate does.
        unplanted: listed nodules that overlap nothing planted, of any size: false positives.
        unplanted_candidates: candidates that overlap nothing planted.
        result: the case's record.
    """

    folder: Path
    report: Path
    planted: int
    found: int
    among_candidates: int
    unplanted: int
    unplanted_candidates: int
    result: CaseResult


def demo(out: Path | str, seed: int = 1, on_progress: OnProgress | None = None) -> DemoResult:
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
    folder = CaseFolder(out / "results" / result.case_id)
    listed = beside = _Found({}, 0)
    if result.status == "done":
        listed = _compare_masks(phantom, folder.nodules, len(result.nodules))
        beside = _compare_masks(phantom, folder.candidates, len(result.candidates))
        write_text(out / "planted.csv", _planted_csv(phantom, listed, beside))
    planted = [nodule.id for nodule in phantom.nodules if nodule.equivalent_diameter_mm >= LEAST_DIAMETER_MM]
    hits = [listed.shares.get(number, 0.0) > 0 for number in planted]
    others = [beside.shares.get(n, 0.0) > 0 and not hit for n, hit in zip(planted, hits, strict=True)]
    return DemoResult(
        folder=out,
        report=folder.report,
        planted=len(planted),
        found=sum(hits),
        among_candidates=sum(others),
        unplanted=listed.unplanted,
        unplanted_candidates=beside.unplanted,
        result=result,
    )


@dataclass(frozen=True)
class _Found:
    """One mask of findings against what was planted.

    Attributes:
        shares: of each planted nodule that the mask covers, by the nodule's id.
        unplanted: findings of the mask that overlap nothing planted.
    """

    shares: dict[int, float]
    unplanted: int


def _compare_masks(phantom: Phantom, path: Path, count: int) -> _Found:
    """Hold the mask at `path`, of `count` findings, against what was planted; without findings there may be no file."""
    if not count:
        return _Found({}, 0)
    found = read_labels(path).as_ras().array
    truth = phantom.nodule_map.as_ras().array
    shares = {nodule.id: float((found[truth == nodule.id] > 0).mean()) for nodule in phantom.nodules}
    return _Found(shares, count - len(np.unique(found[(truth > 0) & (found > 0)])))


def _planted_csv(phantom: Phantom, listed: _Found, beside: _Found) -> str:
    columns = ("id", "equivalent_diameter_mm", "volume_mm3", "texture", "shape", "side")
    rows = [
        {
            "id": nodule.id,
            "equivalent_diameter_mm": f"{nodule.equivalent_diameter_mm:.1f}",
            "volume_mm3": f"{nodule.volume_mm3:.0f}",
            "texture": nodule.spec.texture,
            "shape": nodule.spec.shape,
            "side": nodule.side,
            "segmented_share": f"{listed.shares.get(nodule.id, 0.0):.2f}",
            "candidate_share": f"{beside.shares.get(nodule.id, 0.0):.2f}",
        }
        for nodule in phantom.nodules
    ]
    return csv_text(rows, (*columns, "segmented_share", "candidate_share"))
