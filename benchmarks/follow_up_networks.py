"""`lungseg3d follow-up` with the shipped networks, from DICOM to page, on phantom pairs with known growth.

Prior: slices of 2 mm, soft kernel, 20 HU of noise; current, 120 days later: 2.5 mm, lung kernel, 35 HU, another breath.
Each planted nodule is looked for among the changes, within 8 mm of where it lies, and what was said of it is printed.

    python benchmarks/follow_up_networks.py --pairs 2 --keep DIR
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lungseg3d.core import Change, FollowUp, NoduleChange
from lungseg3d.data import NoduleSpec, PhantomSpec
from lungseg3d.data.phantom.pairs import PairedNodule, PairSpec, PlannedNodule, make_phantom_pair
from lungseg3d.io import SeriesSpec, write_dicom_series
from lungseg3d.workflows.follow_up.run import FollowUpOptions, follow_up
from lungseg3d.workflows.segment.options import SegmentOptions

RESULTS = Path(__file__).parent / "results"
PRIOR = PhantomSpec()
CURRENT = PhantomSpec(shape=(256, 256, 128), spacing_mm=(1.4, 1.4, 2.5), kernel="lung", noise_hu=35.0)
# Diameters in mm in both CTs; None = not there.
PLANTED: Sequence[tuple[float | None, float | None]] = (
    (9.0, 12.5),
    (12.0, 12.0),
    (14.0, 11.0),
    (8.0, 8.0),
    (None, 10.0),
    (10.0, None),
)
NEAR_MM = 8.0


def pair_spec(number: int) -> PairSpec:
    """Pair number 0, 1, ...: another person, other places, breathed in or out."""
    plans = tuple(
        PlannedNodule(NoduleSpec(max(d for d in times if d), seed=100 * number + i), times)
        for i, times in enumerate(PLANTED)
    )
    return PairSpec(31 + number, 31 + number, plans, PRIOR, CURRENT, 14.0 * (-1) ** number)


def run_pair(number: int, folder: Path) -> tuple[FollowUp, tuple[PairedNodule, ...], float]:
    """Make a pair, write it as DICOM, compare it: the result, what was planted, and seconds of the comparison."""
    pair = make_phantom_pair(pair_spec(number))
    cts = []
    for name, phantom, date, kernel in (
        ("prior", pair.prior, "20000101", "B30f"),
        ("current", pair.current, "20000430", "B60f"),
    ):
        cts.append(folder / f"{name}-{number}")
        write_dicom_series(
            cts[-1], phantom.ct, spec=SeriesSpec(f"pair-{number}-{name}", kernel=kernel, study_date=date)
        )
    start = time.perf_counter()
    options = FollowUpOptions(segment=SegmentOptions(device="cpu", overwrite=True))
    result = follow_up(cts[0], cts[1], folder / f"follow-up-{number}", options)
    return result, pair.nodules, time.perf_counter() - start


def line_of(number: int, nodule: PairedNodule, result: FollowUp) -> str:
    """One row of the table."""
    near = [change for change in result.changes if _distance_mm(change, nodule) < NEAR_MM]
    first, second = nodule.volumes_mm3
    true = "new" if not first else "gone" if not second else f"{100 * (second / first - 1):+.0f} %"
    said = []
    for change in near:
        value = change.volume_change
        text = change.change.value
        if value.value is not None and value.low is not None and value.high is not None:
            text += f", {100 * value.value:+.0f} % ({100 * value.low:+.0f} to {100 * value.high:+.0f})"
        said.append(text)
    diameters = " to ".join("–" if not v else f"{(6 * v / math.pi) ** (1 / 3):.1f}" for v in (first, second))
    return f"| {number + 1} | {diameters} | {true} | {'; '.join(said) or 'not found in either CT'} |"


def _distance_mm(change: NoduleChange, nodule: PairedNodule) -> float:
    both = (change.prior, change.place_prior_ras_mm), (change.current, change.place_current_ras_mm)
    return min(
        float(np.linalg.norm(np.array(place) - centre))
        for (found, place), centre in zip(both, nodule.centres_ras_mm, strict=True)
        if found is not None
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--keep", type=Path, required=True, help="folder for the series and the results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    lines = ["| pair | diameter, mm | true change | said |", "|---|---|---|---|"]
    notes = []
    for number in range(arguments.pairs):
        result, planted, seconds = run_pair(number, arguments.keep)
        lines += [line_of(number, nodule, result) for nodule in planted]
        others = [c for c in result.changes if all(_distance_mm(c, nodule) >= NEAR_MM for nodule in planted)]
        matched = sum(c.change in (Change.GROWN, Change.SHRUNK, Change.STABLE) for c in others)
        notes.append(
            f"Pair {number + 1}: {len(others)} more findings match nothing planted, {matched} of them in both CTs; "
            f"lungs overlap by {result.registration['lung_dice']:.3f} (Dice); {seconds:.0f} s with segmentation; "
            f"flags: {', '.join(issue.code for issue in result.issues)}."
        )
        print("\n".join(lines[-len(planted) :]), notes[-1], sep="\n", flush=True)
    text = "# Follow-up with the shipped networks on phantom pairs\n\n" + "\n".join(lines) + "\n\n"
    (arguments.out / "follow_up_networks.md").write_text(text + "\n".join(notes) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
