"""Real CTs against themselves and against copies that were bent by another breath: every nodule must be stable.

Each CT is segmented once, or has an expert's masks (`--reference`). Its copy is the CT, resampled through a smooth
motion (diaphragm 12 mm, up to 3 degrees and 10 mm on the couch), with the masks moved in the same way and measured
again, so that no nodule changes by more than the motion squeezes it. Prints what was said of the nodules, how far
registration missed 500 places in the lungs, and its time.

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

from lungseg3d.analysis import Chest, measure_lungs, measure_nodules, register_lungs
from lungseg3d.core import CaseResult, FollowUp, Volume
from lungseg3d.core.labels import NODULE, NSCLC_RADIOMICS_LUNGS
from lungseg3d.data.phantom.breathing import Motion
from lungseg3d.io import CaseFolder, make_folder, open_ct, read_labels, write_labels, write_text, write_volume
from lungseg3d.report import result_json
from lungseg3d.workflows.follow_up.inputs import examine
from lungseg3d.workflows.follow_up.run import FollowUpOptions, follow_up
from lungseg3d.workflows.segment.cases import segment_cases
from lungseg3d.workflows.segment.options import SegmentOptions

RESULTS = Path(__file__).parent / "results"
CTS = ("ricord-000082/dicom", "4dlung-113/dicom", "lung1-001/ct.nii.gz", "lungdx-A0001/dicom/lung-kernel")
DIAPHRAGM_MM, PLACES = 12.0, 500
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


def by_networks(source: Path, keep: Path) -> Path:
    """The folder of a CT that the shipped networks segment."""
    (result,) = segment_cases([source], keep, READ)
    return keep / result.case_id


def by_reference(source: Path, keep: Path) -> Path:
    """The same made of the expert's lungs and tumour, which lie beside `lung1-001`."""
    ct = open_ct(source).volume
    expert, tumour = (read_labels(source.parent / f"{name}.nii.gz") for name in ("lungs", "tumour"))
    labels = np.zeros(ct.shape, np.uint8)
    for theirs, ours in NSCLC_RADIOMICS_LUNGS.items():
        labels[expert.array == theirs] = ours
    nodules = (tumour.array > 0).astype(np.uint8)
    labels[nodules > 0] = NODULE.value
    folder = make_folder(keep / source.parent.name)
    _write(folder, CaseResult(folder.name, "done"), ct, ct.with_array(labels), ct.with_array(nodules))
    return folder


def _write(folder: Path, like: CaseResult, ct: Volume, labels: Volume, findings: Volume) -> None:
    """A folder as `segment` leaves it, its findings measured again; listed is what `like` lists."""
    grid = {"shape": ct.shape, "spacing_mm": ct.spacing_mm, "affine_ras": ct.affine}
    reasons = {candidate.id: candidate.reason for candidate in like.candidates}
    measured = measure_nodules(ct, findings, lungs=labels)
    listed = tuple(finding for finding in measured if finding.id not in reasons)
    others = tuple(replace(finding, reason=reasons[finding.id]) for finding in measured if finding.id in reasons)
    is_other = np.isin(findings.array, list(reasons))
    write_labels(folder / "labels.nii.gz", labels)
    write_labels(folder / CaseFolder.NODULES, findings.with_array(np.where(is_other, 0, findings.array)))
    write_labels(folder / CaseFolder.CANDIDATES, findings.with_array(np.where(is_other, findings.array, 0)))
    lungs = measure_lungs(labels)
    record = replace(like, case_id=folder.name, grid=grid, lungs=lungs, nodules=listed, candidates=others, files=())
    write_text(folder / "result.json", result_json(record))


def row_of(source: Path, folder: Path, keep: Path) -> str:
    """Compare with itself and with its moved copy."""
    itself = follow_up(folder, folder, keep / f"{folder.name}-itself", FollowUpOptions(1, source, source, READ))
    before = examine(CaseFolder(folder), source, READ.read)
    assert before.ct is not None
    motion, ct = Motion.of(7, DIAPHRAGM_MM), before.ct
    bent, labels = moved(ct, motion, 1, -1024), moved(before.labels, motion, 0, 0)
    copy = make_folder(keep / f"{folder.name}-moved")
    write_volume(keep / f"{folder.name}-moved.nii.gz", bent)
    _write(copy, before.result, bent, labels, moved(before.findings, motion, 0, 0))
    options = FollowUpOptions(1, source, keep / f"{folder.name}-moved.nii.gz", READ)
    changed = follow_up(folder, copy, keep / f"{folder.name}-followed", options)
    start = time.process_time()
    registration = register_lungs(Chest(before.labels, ct), Chest(labels, bent))
    seconds = time.process_time() - start
    middle = ct.grid.to_world((np.array(ct.shape) - 1) / 2)
    lung = np.argwhere(before.labels.array > 0)
    places = ct.grid.to_world(lung[:: len(lung) // PLACES])
    true = motion.to_current(places - middle) + middle
    inside = np.all((ct.grid.to_voxel(true) >= 0) & (ct.grid.to_voxel(true) <= np.array(ct.shape) - 1), axis=1)
    missed_mm = np.linalg.norm(registration.to_current(places) - true, axis=1)[inside]
    moved_mm = np.linalg.norm(true - places, axis=1)[inside]
    return (
        f"| {folder.name} | {' x '.join(map(str, ct.shape))} | {_said(itself)} | {_said(changed)} "
        f"| {np.median(moved_mm):.1f} | {np.median(missed_mm):.1f}, {np.percentile(missed_mm, 95):.1f} "
        f"| {registration.dice_before:.3f}, {registration.dice:.3f} | {seconds:.1f} |"
    )


def _said(result: FollowUp) -> str:
    counts = Counter(change.change.value for change in result.changes)
    return ", ".join(f"{count} {word}" for word, count in counts.most_common()) or "no nodules"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--keep", type=Path, required=True, help="folder for the results")
    parser.add_argument("--cts", nargs="*", help="paths below DATA/ct; default: all four")
    parser.add_argument("--reference", action="store_true", help="expert masks where they lie beside the CT")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    lines = [
        "| CT | voxels | against itself | against its moved copy | places in the lungs moved by, median mm "
        "| registration misses them by: median, 95th percentile mm | Dice of lungs before, after "
        "| registration, s of one core |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in arguments.cts or CTS:
        source = arguments.data / "ct" / name
        make = by_reference if (source.parent / "tumour.nii.gz").exists() and arguments.reference else by_networks
        lines.append(row_of(source, make(source, arguments.keep), arguments.keep))
        print(lines[-1], flush=True)
    title = "# Real CTs against themselves and against moved copies\n\n`python benchmarks/follow_up_real.py`\n\n"
    (arguments.out / "follow_up_real.md").write_text(title + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
