"""Follow-up on phantom pairs with known growth, another breath, other slices, kernel and noise.

Each pair is one of a few persons, scanned twice. Registration gets CTs of both times on a grid of 3 mm; nodules are
drawn again on fine patches (0.7 mm pixels, slices of 1 to 3 mm) and outlined in two ways: `reference`, voxels of which
at least half is nodule, and `half contrast`, voxels of the blurred and noisy patch above half of the nodule's contrast,
as a careful reader would draw. Pairing and changes are then computed as by `lungseg3d follow-up`.

    python benchmarks/follow_up.py --pairs 100

Pairs that the CSV file already holds are not made again. Prints and writes results/follow_up.md and follow_up.csv.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.stats import binomtest

from lungseg3d.analysis import Chest, TimePoint, compare_nodules, measure_nodules, register_lungs
from lungseg3d.core import Grid, Nodule, NoduleChange, Volume
from lungseg3d.core.nodule import nodule_of, nodule_record
from lungseg3d.data import NoduleSpec, PhantomSpec, make_nodule_specs, nodule_box, nodule_hu
from lungseg3d.data.phantom.breathing import Motion
from lungseg3d.data.phantom.pairs import (
    PairedNodule,
    PairSpec,
    Person,
    PhantomPair,
    PlannedNodule,
    lung_share,
    make_phantom_pair,
)
from lungseg3d.data.phantom.scanner import blur, kernel_named, make_noise

RESULTS = Path(__file__).parent / "results"
PERSONS, NODULES = 10, 6
SHAPE, SPACING_MM = (116, 100, 104), (3.0, 3.0, 3.0)
PIXEL_MM, SLICES_MM, KERNELS, NOISE_HU = 0.7, (1.0, 1.25, 2.0, 2.5, 3.0), ("soft", "lung"), (15.0, 45.0)
OUTLINES = ("reference", "half contrast")
COLUMNS = (
    "pair",
    "outline",
    "slices_mm",
    "kernels",
    "diaphragm_mm",
    "seconds",
    "dice",
    "diameter_mm",
    "true",
    "said",
    "change",
    "low",
    "high",
    "is_paired_rightly",
    "distance_mm",
)


def plan_of(pair: int) -> PairSpec:
    """What is scanned in pair number `pair`."""
    rng = np.random.default_rng((2024, pair))
    plans = []
    for spec in make_nodule_specs(NODULES, rng, median_diameter_mm=8.0):
        first = float(np.clip(spec.diameter_mm, 4.0, 20.0))
        second = first * float(np.exp(rng.uniform(np.log(0.5), np.log(4.0))) if rng.random() < 0.6 else 1.0) ** (1 / 3)
        fate = rng.random()
        times = (None, second) if fate < 0.1 else (first, None) if fate < 0.2 else (first, second)
        plans.append(PlannedNodule(spec, times))
    scans = [
        PhantomSpec(
            shape=SHAPE, spacing_mm=SPACING_MM, kernel=str(rng.choice(KERNELS)), noise_hu=float(rng.uniform(*NOISE_HU))
        )
        for _ in range(2)
    ]
    return PairSpec(pair % PERSONS, 1000 + pair, tuple(plans), scans[0], scans[1], float(rng.uniform(-20, 20)))


def outlined(
    nodule: PairedNodule,
    person: Person,
    pair: PhantomPair,
    scan: PhantomSpec,
    time_point: int,
    slice_mm: float,
    seed: int,
) -> dict[str, Nodule]:
    """One nodule of one CT on a fine patch, measured by each outline."""
    centre = np.asarray(nodule.centres_ras_mm[time_point])
    spec: NoduleSpec = replace(nodule.plan.spec, diameter_mm=nodule.plan.diameters_mm[time_point])
    rng = np.random.default_rng((seed, spec.seed, time_point))
    size = np.ceil(4 * spec.diameter_mm / np.array([PIXEL_MM, PIXEL_MM, slice_mm])).astype(int) + 12
    affine = np.diag([PIXEL_MM, PIXEL_MM, slice_mm, 1.0])
    affine[:3, 3] = centre - affine[:3, :3] @ ((size - 1) / 2 + rng.uniform(-0.5, 0.5, 3))
    whole = Grid(tuple(size.tolist()), affine)
    grid = whole.cropped(nodule_box(spec, whole, centre, margin_mm=4.0))
    occupancy, own_hu = nodule_hu(spec, grid, centre)
    motion = pair.motion if time_point else Motion.none()
    occupancy = np.minimum(occupancy, lung_share(person.anatomy, grid, motion))
    lung_hu = person.anatomy.habitus.lung_hu
    hu = (lung_hu + occupancy * (own_hu - lung_hu)).astype(np.float32)
    kernel, spacing_mm = kernel_named(scan.kernel), (PIXEL_MM, PIXEL_MM, slice_mm)
    blur(hu, spacing_mm, kernel)
    hu += make_noise(grid.shape, spacing_mm, kernel, rng) * np.float32(scan.noise_hu)
    contrast = (float(own_hu[occupancy > 0.5].mean()) if (occupancy > 0.5).any() else float(own_hu.mean())) - lung_hu
    parts, _ = ndimage.label(ndimage.gaussian_filter(hu, (0.7, 0.7, 0)) > lung_hu + contrast / 2)
    touched = np.bincount(parts[occupancy > 0.3], minlength=2)
    touched[0] = 0
    masks = {"reference": occupancy >= 0.5, "half contrast": parts == touched.argmax()}
    if not touched.any():
        masks["half contrast"] = np.zeros(grid.shape, bool)
    ct = Volume(np.clip(hu, -1024, 3071).astype(np.int16), grid.affine)
    found = {}
    for name, mask in masks.items():
        measured = measure_nodules(ct, ct.with_array(mask.astype(np.uint8)))
        if measured:
            side = "right" if nodule.centres_ras_mm[0][0] > 0 else "left"
            known = {"id": spec.seed, "side": side, "centroid_voxel": (50.0, 50.0, 50.0)}
            found[name] = nodule_of({**nodule_record(measured[0]), **known})
    return found


def rows_of(number: int, person: Person) -> list[dict[str, object]]:
    """One row for each nodule of a pair and each outline."""
    spec = plan_of(number)
    pair = make_phantom_pair(spec, person)
    rng = np.random.default_rng((2025, number))
    slices = [float(rng.choice(SLICES_MM)) for _ in range(2)]
    start = time.process_time()
    registration = register_lungs(Chest(pair.prior.labels, pair.prior.ct), Chest(pair.current.labels, pair.current.ct))
    seconds = time.process_time() - start
    measured = [
        [outlined(n, person, pair, scan, t, slices[t], number) if n.plan.diameters_mm[t] else {} for n in pair.nodules]
        for t, scan in enumerate((spec.prior, spec.current))
    ]
    common = {
        "pair": number,
        "slices_mm": f"{slices[0]:g} {slices[1]:g}",
        "seconds": f"{seconds:.2f}",
        "kernels": f"{spec.prior.kernel} {spec.current.kernel}",
        "diaphragm_mm": f"{spec.diaphragm_mm:.1f}",
        "dice": f"{registration.dice:.3f}",
    }
    rows = []
    for outline in OUTLINES:
        points = [TimePoint([m[outline] for m in time if outline in m], pair.prior.ct.grid) for time in measured]
        changes = compare_nodules(points[0], points[1], registration, 180)
        for nodule in pair.nodules:
            rows.append({**common, "outline": outline, **_row(nodule, changes)})
    return rows


def _row(nodule: PairedNodule, changes: tuple[NoduleChange, ...]) -> dict[str, object]:
    seed = nodule.plan.spec.seed
    own = [c for c in changes if seed in (c.prior and c.prior.id, c.current and c.current.id)]
    first, second = nodule.volumes_mm3
    is_one = len(own) == 1 and all(there is None or there.id == seed for there in (own[0].prior, own[0].current))
    row: dict[str, object] = {
        "diameter_mm": f"{(6 * max(first, second) / math.pi) ** (1 / 3):.1f}",
        "true": "new" if not first else "gone" if not second else f"{second / first - 1:.4f}",
        "said": " ".join(sorted(c.change.value for c in own)) or "missed",
        "is_paired_rightly": int(is_one),
    }
    if is_one and own[0].volume_change.value is not None:
        estimate = own[0].volume_change
        row |= {"change": f"{estimate.value:.4f}", "low": f"{estimate.low:.4f}", "high": f"{estimate.high:.4f}"}
        row["distance_mm"] = f"{own[0].distance_mm:.2f}"
    return row


def share_text(good: int, of: int) -> str:
    """`97.2 % (95.1 to 98.5; 350 of 360)`, Wilson's interval."""
    if not of:
        return "none"
    low, high = binomtest(good, of).proportion_ci(method="wilson")
    return f"{100 * good / of:.1f} % ({100 * low:.1f} to {100 * high:.1f}; {good} of {of})"


def summary_of(rows: list[dict[str, str]]) -> str:
    """The tables of the results."""
    pairs = len({row["pair"] for row in rows})
    lines = [
        "| outline | nodules paired rightly | true change in its 95 % interval: all nodules | the largest of each pair "
        "| median half width of the interval |",
        "|---|---|---|---|---|",
    ]
    for outline in OUTLINES:
        own = [row for row in rows if row["outline"] == outline]
        changed = [row for row in own if row["change"]]
        largest: dict[str, dict[str, str]] = {}
        for row in changed:
            if row["pair"] not in largest or float(row["diameter_mm"]) > float(largest[row["pair"]]["diameter_mm"]):
                largest[row["pair"]] = row
        width = np.median([np.log1p(float(r["high"])) - np.log1p(float(r["low"])) for r in changed]) / 2
        lines.append(
            f"| {outline} | {share_text(sum(int(r['is_paired_rightly']) for r in own), len(own))} "
            f"| {share_text(sum(map(_holds, changed)), len(changed))} "
            f"| {share_text(sum(map(_holds, largest.values())), len(largest))} | factor {np.exp(width):.2f} |"
        )
    lines += [
        "",
        "True changes and what was said of them, by half contrast:",
        "",
        "| true | " + " | ".join(WORDS) + " |",
        "|---|" + "---|" * len(WORDS),
    ]
    own = [row for row in rows if row["outline"] == "half contrast"]
    for kind in ("new", "gone", "grown by 25 % or more", "less than 25 %", "shrunk to 80 % or less"):
        counts = Counter(row["said"] if row["said"] in WORDS else "other" for row in own if _kind(row["true"]) == kind)
        lines.append(f"| {kind} | " + " | ".join(str(counts[word]) for word in WORDS) + " |")
    distances = [float(row["distance_mm"]) for row in own if row["distance_mm"]]
    seconds = [float(row["seconds"]) for row in own]
    unseen = sum(row["true"] not in ("new", "gone") and not row["change"] for row in own)
    lines += [
        "",
        f"{pairs} pairs of {min(pairs, PERSONS)} persons, up to {NODULES} nodules each. "
        f"Distance of a nodule from where registration puts it: median {np.median(distances):.2f} mm, 95th percentile "
        f"{np.percentile(distances, 95):.2f} mm, largest {max(distances):.2f} mm (n = {len(distances)}). "
        f"Registration: median {np.median(seconds):.1f} s of one CPU core. "
        f"Without a half-contrast outline in one CT, so said to be new or gone: {unseen} of {len(own)}.",
    ]
    return "\n".join(lines) + "\n"


WORDS = ("new", "gone", "grown", "shrunk", "stable", "not-measurable", "other")


def _holds(row: dict[str, str]) -> bool:
    return float(row["low"]) <= float(row["true"]) <= float(row["high"])


def _kind(true: str) -> str:
    if true in ("new", "gone"):
        return true
    if float(true) >= 0.25:
        return "grown by 25 % or more"
    return "shrunk to 80 % or less" if float(true) <= -0.2 else "less than 25 %"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = arguments.out / "follow_up.csv"
    rows = list(csv.DictReader(table.open(encoding="utf-8"))) if table.exists() else []
    done = {int(row["pair"]) for row in rows}
    todo = sorted(set(range(arguments.pairs)) - done, key=lambda pair: (pair // 20, pair % PERSONS, pair))
    person: Person | None = None
    for number in todo:
        if person is None or person.seed != number % PERSONS:
            person = Person.of(number % PERSONS, PhantomSpec(shape=SHAPE, spacing_mm=SPACING_MM))
        rows += [{name: str(row.get(name, "")) for name in COLUMNS} for row in rows_of(number, person)]
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"pair {number}", flush=True)
        _write_summary(rows, arguments.out)
    print(_write_summary(rows, arguments.out))


def _write_summary(rows: list[dict[str, str]], folder: Path) -> str:
    text = summary_of(rows)
    title = "# Follow-up on phantom pairs with known growth\n\n"
    command = (
        "`python benchmarks/follow_up.py --pairs 100`, which goes on where `follow_up.csv` ends; its beginning says "
    )
    command += "what is measured. In brackets: Wilson, 95 %. No outline here errs as a network's does.\n\n"
    (folder / "follow_up.md").write_text(title + command + text, encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
