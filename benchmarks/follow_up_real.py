"""Real CTs against themselves and against copies that were bent by another breath: every nodule must be stable.

Each CT is segmented once. Its copy is the CT, resampled through a smooth motion (diaphragm 12 mm, up to 3 degrees and
10 mm on the couch), with the masks moved in the same way and measured again, so that no nodule changes by more than the
motion squeezes it. Prints what was said of the nodules, how far registration missed them, and its time.

    python benchmarks/follow_up_real.py --data ../shared/data --keep DIR
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from lungseg3d.analysis import Chest, measure_nodules, register_lungs
from lungseg3d.core import FollowUp, Volume
from lungseg3d.data.phantom_breathing import Motion
from lungseg3d.io import open_ct, read_labels, write_labels, write_text, write_volume
from lungseg3d.report import result_json
from lungseg3d.workflows.follow_up import FollowUpOptions, follow_up
from lungseg3d.workflows.follow_up_inputs import examine
from lungseg3d.workflows.segment import segment_cases
from lungseg3d.workflows.segment_options import SegmentOptions

RESULTS = Path(__file__).parent / "results"
CTS = ("ricord-000082/dicom", "4dlung-113/dicom", "lung1-001/ct.nii.gz", "lungdx-A0001/dicom/lung-kernel")
DIAPHRAGM_MM = 12.0
READ = SegmentOptions(device="cpu", overwrite=True)


def moved(volume: Volume, motion: Motion, order: int, outside: float) -> Volume:
    """A volume as it lies after the motion, on its own grid; the motion's origin is the volume's middle."""
    grid = volume.grid
    middle = grid.to_world((np.array(grid.shape) - 1) / 2)
    array = np.empty_like(volume.array)
    across = np.stack(np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]), indexing="ij"), axis=-1)
    for k in range(grid.shape[2]):
        voxels = np.concatenate([across, np.full((*grid.shape[:2], 1), k)], axis=-1)
        places = grid.to_voxel(motion.to_prior(grid.to_world(voxels) - middle) + middle)
        places = np.moveaxis(places, -1, 0).astype(np.float32)
        array[:, :, k] = ndimage.map_coordinates(volume.array, places, order=order, cval=outside)
    return Volume(array, volume.affine)


def row_of(source: Path, keep: Path) -> str:
    """Segment, compare with itself and with its moved copy."""
    ct = open_ct(source).volume
    (result,) = segment_cases([source], keep, READ)
    folder = keep / result.case_id
    itself = follow_up(folder, folder, keep / f"{folder.name}-itself", FollowUpOptions(1, source, source, READ))
    motion = Motion.of(7, DIAPHRAGM_MM)
    copy = keep / f"{folder.name}-moved"
    copy.mkdir(exist_ok=True)
    bent = moved(ct, motion, 1, -1024)
    labels, nodules = (moved(read_labels(folder / f"{name}.nii.gz"), motion, 0, 0) for name in ("labels", "nodules"))
    write_volume(keep / f"{folder.name}-moved.nii.gz", bent)
    write_labels(copy / "labels.nii.gz", labels)
    write_labels(copy / "nodules.nii.gz", nodules)
    measured = tuple(measure_nodules(bent, nodules, lungs=labels))
    write_text(copy / "result.json", result_json(replace(result, case_id=copy.name, nodules=measured, files=())))
    options = FollowUpOptions(1, source, keep / f"{folder.name}-moved.nii.gz", READ)
    changed = follow_up(folder, copy, keep / f"{folder.name}-followed", options)
    before = examine(folder, source, READ.read)
    start = time.process_time()
    registration = register_lungs(Chest(before.labels, before.ct), Chest(labels, bent))
    seconds = time.process_time() - start
    middle = ct.grid.to_world((np.array(ct.shape) - 1) / 2)
    centres = np.array([nodule.centroid_ras_mm for nodule in before.result.nodules]).reshape(-1, 3)
    missed_mm = np.linalg.norm(registration.to_current(centres) - motion.to_current(centres - middle) - middle, axis=1)
    shape = " x ".join(map(str, ct.shape))
    return (
        f"| {source.relative_to(source.parents[1]).parts[0]} | {shape} | {len(centres)} "
        f"| {_said(itself)} | {_said(changed)} | {np.median(missed_mm) if len(missed_mm) else 0:.1f}, "
        f"{missed_mm.max(initial=0):.1f} | {registration.dice_before:.3f}, {registration.dice:.3f} | {seconds:.1f} |"
    )


def _said(result: FollowUp) -> str:
    counts = Counter(change.change.value for change in result.changes)
    return ", ".join(f"{count} {word}" for word, count in counts.most_common()) or "no nodules"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--keep", type=Path, required=True, help="folder for the results")
    parser.add_argument("--cts", type=int, default=len(CTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    lines = [
        "| CT | voxels | nodules | against itself | against its moved copy | registration misses nodules by: median, "
        "largest mm | Dice of lungs before, after | registration, s of one core |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in CTS[: arguments.cts]:
        lines.append(row_of(arguments.data / "ct" / name, arguments.keep))
        print(lines[-1], flush=True)
    title = "# Real CTs against themselves and against moved copies\n\n`python benchmarks/follow_up_real.py`\n\n"
    (arguments.out / "follow_up_real.md").write_text(title + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
