"""The shipped nodule bundle on nodules whose patients its weights do not know, outlined where a person points.

1. Cubes of 50 mm of `nodules_luna`, `lungseg3d segment --roi full --at middle`: every nodule lies in the middle of its
   cube. Dice against what at least two readers outlined, contour pixels left out; further nodules are left out of both.
2. Parts of such cubes, cut so that the nodule lies anywhere in them: what `--roi full` finds by itself, and what it
   outlines with `--at` the nodule's centre.

    python -m benchmarks.named_places --data ../shared/data/nodules_luna
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nodule_folds import RESULTS, table
from lungseg3d.core import Box, CaseResult, Volume
from lungseg3d.io import read_labels, read_volume, write_volume
from lungseg3d.metrics import dice
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases

CUBES, PARTS, SEED = 150, 20, 21
HELD_OUT = 0
FOUND_FROM_IOU = 0.1
_SIDES_MM = (30, 44)
_INSIDE_MM = 6


@dataclass(frozen=True)
class Part:
    """A part of a cube.

    Attributes:
        case_id: of the cube.
        ct, nodule: HU and mask of the cube's own nodule.
        ignored: further nodules, which count neither way.
        centre: of the nodule, in voxels of the part.
    """

    case_id: str
    ct: Volume
    nodule: np.ndarray
    ignored: np.ndarray
    centre: tuple[float, float, float]


def unknown_rows(data: Path) -> list[dict[str, str]]:
    """Rows of `nodules.csv` of patients of whom the shipped weights have seen no nodule, whole in their cubes.

    The network that outlines has seen all folds but `HELD_OUT`, the others the patients of an older set.
    """
    with (data / "nodules.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = {row["patient"] for row in rows if row["in_134"]}
    rows = [row for row in rows if int(row["fold"]) == HELD_OUT and row["cut_at_scan_edge"] == "0"]
    return [row for row in rows if row["patient"] not in known]


def sample(rows: list[dict[str, str]], count: int, seed: int) -> list[dict[str, str]]:
    """Rows drawn at random, in their order; the same for the same seed."""
    chosen = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    return [rows[i] for i in sorted(chosen)]


def masks_of(data: Path, case_id: str) -> tuple[np.ndarray, np.ndarray]:
    """The cube's own nodule and the others in it, bool."""
    nodule = read_labels(data / "labels" / f"{case_id}.nii.gz").array > 0
    others = data / "others" / f"{case_id}.nii.gz"
    return nodule, (read_labels(others).array > 0) if others.exists() else np.zeros_like(nodule)


def parts_of_cubes(data: Path, rows: list[dict[str, str]], seed: int = SEED) -> Iterator[Part]:
    """A part of each cube, its sides 30 to 44 mm, in which the nodule's centre lies anywhere 6 mm inside or more."""
    random = np.random.default_rng(seed)
    for row in rows:
        ct = read_volume(data / "images" / f"{row['id']}.nii.gz")
        nodule, others = masks_of(data, row["id"])
        centre = np.argwhere(nodule).mean(axis=0)
        shape, sides = np.array(ct.shape), random.integers(*_SIDES_MM, size=3, endpoint=True)
        low = np.maximum(0, np.ceil(centre + _INSIDE_MM - sides)).astype(int)
        high = np.minimum(shape - sides, np.floor(centre - _INSIDE_MM)).astype(int)
        start = random.integers(low, high, endpoint=True)
        box = Box(tuple(start.tolist()), tuple((start + sides).tolist()))
        x, y, z = (float(v) for v in np.round(centre - start, 1))
        part = ct.crop(box)
        hu = Volume(np.ascontiguousarray(part.array), part.affine)
        yield Part(row["id"], hu, nodule[box.slices], others[box.slices], (x, y, z))


def measure_part(part: Part, folder: Path, **how: Any) -> dict[str, Any]:
    """What `--roi full` finds in a part by itself, and what it outlines at the nodule's centre.

    Args:
        part: the part.
        folder: for the part's file and its results.
        **how: further fields of `SegmentOptions`.
    """
    path = folder / f"{part.case_id}.nii.gz"
    write_volume(path, part.ct)
    searched, found = _segmented(path, folder / "searched", SegmentOptions(roi="full", **how))
    _, named = _segmented(path, folder / "named", SegmentOptions(roi="full", at=(part.centre,), **how))
    judged = ~part.ignored
    middle = tuple(n // 2 for n in part.nodule.shape)
    values = [int(value) for value in np.unique(found[part.nodule & judged]) if value]
    best = max((_iou(found == value, part.nodule) for value in values), default=0.0)
    elsewhere = [n.id for n in searched.findings if not ((found == n.id) & (part.nodule | part.ignored)).any()]
    of_middle = int(found[middle])
    return {
        "case_id": part.case_id,
        "off_middle_mm": round(float(np.linalg.norm(np.array(part.centre) - (np.array(part.ct.shape) - 1) / 2)), 1),
        "found": best >= FOUND_FROM_IOU,
        "dice_searched": round(dice((found > 0) & judged, part.nodule & judged), 3),
        "findings_elsewhere": len(elsewhere),
        "outlined_the_middle": of_middle in elsewhere,
        "dice_at": round(dice((named > 0) & judged, part.nodule & judged), 3),
    }


def _segmented(path: Path, out: Path, options: SegmentOptions) -> tuple[CaseResult, np.ndarray]:
    """The record, and the map of all findings: those that are listed, and candidates."""
    (result,) = segment_cases(path, out, options)
    if result.status != "done":
        raise SystemExit(f"{result.case_id} was {result.status}: {result.issues}")
    found = read_labels(out / result.case_id / "nodules.nii.gz").array.copy()
    candidates = out / result.case_id / "candidates.nii.gz"
    if candidates.exists():
        found = np.maximum(found, read_labels(candidates).array)
    return result, found


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def measure_cubes(data: Path, rows: list[dict[str, str]], scratch: Path) -> list[dict]:
    """Dice of each cube's nodule, outlined at the middle."""
    paths = [data / "images" / f"{row['id']}.nii.gz" for row in rows]
    results = segment_cases(paths, scratch, SegmentOptions(roi="full", at=("middle",)))
    measured = []
    for row, result in zip(rows, results, strict=True):
        nodule, others = masks_of(data, row["id"])
        found = read_labels(scratch / result.case_id / "nodules.nii.gz").array > 0
        score = dice(found & ~others, nodule & ~others)
        texture = round(float(row["texture"])) if row["texture"] else 0
        facts = {"diameter_mm": float(row["diameter_mm"]), "texture": texture, "fold": row["fold"]}
        measured.append({"case_id": row["id"], "dice": round(score, 4), "empty": not found.any(), **facts})
    return measured


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/nodules_luna"))
    arguments = parser.parse_args()
    rows = unknown_rows(arguments.data)
    with tempfile.TemporaryDirectory() as scratch:
        cuts = [row for row in rows if row["touches_border"] == "0"]
        parts = [
            measure_part(part, Path(scratch)) for part in parts_of_cubes(arguments.data, sample(cuts, PARTS, SEED))
        ]
        cubes = measure_cubes(arguments.data, sample(rows, min(CUBES, len(rows)), SEED), Path(scratch) / "cubes")
    text = _text(cubes, parts, len(rows))
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "named_places.md").write_text(text, encoding="utf-8")
    for name, measured in (("cubes", cubes), ("parts", parts)):
        with (RESULTS / f"named_places_{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(measured[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(measured)


def _text(cubes: list[dict], parts: list[dict], pool: int) -> str:
    elsewhere, middle, found = (
        sum(part[key] for part in parts) for key in ("findings_elsewhere", "outlined_the_middle", "found")
    )
    dice_at = [part["dice_at"] for part in parts]
    lines = [
        "# Nodules outlined where a person points",
        "",
        f"Shipped weights; {len(cubes)} of {pool} cubes of `nodules_luna` whose patients the weights do not know,",
        "drawn with a fixed seed, `--roi full --at middle`. The reference is what two readers or more outlined, their",
        f"contour pixels left out. In {sum(row['empty'] for row in cubes)} nothing was outlined: their Dice is 0.",
        "",
        table(cubes),
        "## Nodules anywhere in a crop",
        "",
        f"{len(parts)} parts of such cubes with sides of 30 to 44 mm; the nodule's centre lies {_range(parts)} mm off",
        f"the middle. `--roi full` found {found} of them (IoU of {FOUND_FROM_IOU} or more, candidates too); it marked",
        f"{elsewhere} other things at their own places, and in {middle} parts something else in the middle.",
        f"`--at` the nodule's centre outlined {sum(score > 0 for score in dice_at)} of {len(parts)}: mean Dice",
        f"{np.mean(dice_at):.3f}, median {np.median(dice_at):.3f}, least {min(dice_at):.3f}.",
    ]
    return "\n".join(lines) + "\n"


def _range(parts: list[dict]) -> str:
    away = [part["off_middle_mm"] for part in parts]
    return f"{min(away):g} to {max(away):g}"


if __name__ == "__main__":
    main()
