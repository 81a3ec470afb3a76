"""SEG and SR of every real CT at hand, with the shipped networks, from the command line to the readers of others.

Each CT goes through `lungseg3d segment --format nifti,seg,sr`; then `lungseg3d export` makes both objects again from
the NIfTI results. The objects are held against those results by pydicom alone (`tests/support/seg_reading.py`),
validated by `dciodvfy`, and read by `dsrdump` (dcmtk), `segimage2itkimage` and `tid1500reader` (dcmqi) where
they are on the path.

    python benchmarks/dicom_objects.py --data ../shared/data --keep DIR

Results that DIR already holds are not made again. Prints and writes results/dicom_objects_real.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungseg3d.io import read_labels
from tests.support.seg_reading import read_masks, read_measurements

RESULTS = Path(__file__).parent / "results"
SEG, SR = "segmentation.dcm", "measurements.dcm"
CORNERS = "dicom_corner_cases"
CASES: dict[str, tuple[str, ...]] = {
    "ct/4dlung-113/dicom": (),
    "ct/lungdx-A0001/dicom/lung-kernel": (),
    "ct/lungdx-A0001/dicom/soft-kernel-4-slices": (),
    "ct/ricord-000082/dicom": (),
    "cip-64/dicom": (),
    f"{CORNERS}/conversion/gantrytilting/001": (),
    f"{CORNERS}/conversion/sliceincrement/001": ("--allow-gaps",),
    f"{CORNERS}/conversion/sliceincrement/002": ("--allow-gaps",),
    f"{CORNERS}/conversion/notavolume/001": (),
    f"{CORNERS}/segmentation/ct-3slice": (),
    f"{CORNERS}/segmentation/image": (),
    f"{CORNERS}/segmentation/multiframe/mf.dcm": (),
    f"{CORNERS}/transfer_syntaxes/CTImage.dcm": (),
    "ct/lung1-001/ct.nii.gz": (),
    "cip-64/ct-64.nrrd": (),
}
NOTES = """
The first five are chests; the others are short series of other parts of the body and of phantoms, in which the networks
should find nothing: then there is a report and no object (`W_EMPTY_RESULT`). Their geometry (tilted, filled,
multi-frame) is tested with masks made for it: `dicom_objects.md`. Two are refused for what they are: two slices at one
place with different pixels, and a single slice. The last two are no DICOM: asked for `seg` or `sr` they are refused
before any work, and the message says to segment the series itself, or to take the NIfTI results onto it later with
`lungseg3d export RESULT --source SERIES`; without `seg` and `sr` they are segmented as any other.
"""
# Field of result.json -> (code, derivation) in the SR.
NUMBERS = {
    "volume_mm3": ("118565006", ""),
    "voxel_sum_mm3": ("voxel-sum", ""),
    "long_axis_mm": ("103339001", ""),
    "perpendicular_mm": ("103340004", ""),
    "mean_hu": ("112031", "373098007"),
    "confidence": ("confidence", ""),
    "calibrated_confidence": ("calibrated", ""),
}


@dataclass(frozen=True)
class Checked:
    """What became of one CT: the cells of its row."""

    name: str
    said: str
    found: str = ""
    masks: str = ""
    numbers: str = ""
    again: str = ""
    errors: str = ""
    others: str = ""

    @property
    def row(self) -> str:
        cells = (self.name, self.said, self.found, self.masks, self.numbers, self.again, self.errors, self.others)
        return "| " + " | ".join(cell or "–" for cell in cells) + " |"


def run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """A program, with what it says."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def lungseg3d(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Our command line."""
    return run([Path(sys.executable).with_name("lungseg3d"), *arguments])


def check(name: str, data: Path, keep: Path) -> Checked:
    """One CT, there and back."""
    out = keep / name.replace("/", "_").removesuffix(".gz")
    if not list(out.glob("*/result.json")):
        said = lungseg3d("segment", data / name, "--out", out, "--format", "nifti,seg,sr", *CASES[name])
        (out / "said.txt").parent.mkdir(parents=True, exist_ok=True)
        (out / "said.txt").write_text(said.stdout + said.stderr, encoding="utf-8")
    folder = next(out.glob("*/result.json")).parent
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if record["status"] != "done":
        codes = [issue["code"] for issue in record["issues"] if issue["severity"] == "error"]
        return Checked(name, f"{record['status']}: {', '.join(codes)}")
    found = f"{len(record['lungs'])} lungs, {len(record['nodules'])} nodules"
    if SEG not in record["files"]:
        codes = [issue["code"] for issue in record["issues"]]
        return Checked(name, f"done without objects: {', '.join(c for c in codes if 'EMPTY' in c)}", found)
    masks, numbers = came_back(folder, record)
    with tempfile.TemporaryDirectory() as scratch:
        again = written_again(folder, data / name, Path(scratch))
    errors = sum(len(errors_of(folder / part)) for part in (SEG, SR))
    return Checked(name, "done", found, masks, numbers, again, str(errors), readers_say(folder, len(record["nodules"])))


def came_back(folder: Path, record: dict) -> tuple[str, str]:
    """Whether masks and numbers of the objects are those of the NIfTI and JSON results."""
    labels, nodules = (read_labels(folder / name) for name in ("labels.nii.gz", "nodules.nii.gz"))
    masks = read_masks(folder / SEG, labels.affine, labels.shape)
    groups = read_measurements(folder / SR)
    wrong_masks = int(set(masks) != set(groups))
    wrong_numbers = 0
    by_id = {nodule["id"]: nodule for nodule in record["nodules"]}
    volumes_ml = {"Right lung": "right_lung", "Left lung": "left_lung"}
    lungs = {lung["name"]: lung["volume_ml"] for lung in record["lungs"]}
    for uid, mask in masks.items():
        name = groups[uid]["id"]
        if name in volumes_ml:
            wrong_masks += not np.array_equal(mask, labels.array == (1 if name == "Right lung" else 2))
            wrong_numbers += abs(groups[uid]["118565006", ""][0] - lungs[volumes_ml[name]]) > 0.005001
            continue
        nodule = by_id[int(name.rpartition(" ")[2])]
        wrong_masks += not np.array_equal(mask, nodules.array == nodule["id"])
        for field, code in NUMBERS.items():
            digit = 0.0501 if field == "mean_hu" else 0.00501
            wrong_numbers += nodule[field] is not None and abs(groups[uid][code][0] - nodule[field]) > digit
        # Whatever weighed its volume, the sum of voxels must be that of the segment beside it.
        wrong_numbers += abs(groups[uid]["voxel-sum", ""][0] - mask.sum() * labels.voxel_volume_mm3) > 0.0051
    return tuple("identical" if not wrong else f"{wrong} wrong" for wrong in (wrong_masks, wrong_numbers))


def written_again(folder: Path, source: Path, scratch: Path) -> str:
    """Whether `export` makes the same bytes of the NIfTI results as `segment` wrote."""
    copy = scratch / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.dcm", "report.html"))
    said = lungseg3d("export", copy, "--source", source)
    if said.returncode:
        return f"export failed: {said.stderr.splitlines()[-1]}"
    same = all((copy / name).read_bytes() == (folder / name).read_bytes() for name in (SEG, SR))
    return "same bytes" if same else "other bytes"


def errors_of(path: Path) -> list[str]:
    """The errors of dciodvfy; without it the benchmark stops, as a validation that did not run is none.

    Raises:
        FileNotFoundError: it is not installed (Debian: dicom3tools).
    """
    said = run(["dciodvfy", "-new", path])
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]


def readers_say(folder: Path, nodules: int) -> str:
    """What programs of others read of the objects."""
    told = []
    with tempfile.TemporaryDirectory() as scratch:
        if shutil.which("dsrdump"):
            said = run(["dsrdump", folder / SR])
            groups = said.stdout.count("Measurement Group") if said.returncode == 0 else 0
            told.append(f"dsrdump: {groups} groups")
        if shutil.which("tid1500reader"):
            said = run(["tid1500reader", "--inputDICOM", folder / SR, "--outputMetadata", f"{scratch}/sr.json"])
            json_path = Path(scratch, "sr.json")
            groups = len(json.loads(json_path.read_text()).get("Measurements", [])) if json_path.exists() else 0
            told.append(f"tid1500reader: {groups} groups")
        if shutil.which("segimage2itkimage"):
            command = ["segimage2itkimage", "--inputDICOM", folder / SEG, "--outputDirectory", scratch]
            said = run([*command, "--outputType", "nifti"])
            told.append(f"segimage2itkimage: {len(list(Path(scratch).glob('*.nii.gz')))} segments")
    return ", ".join(told)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--keep", type=Path, required=True, help="Folder for the results of segment.")
    arguments = parser.parse_args()
    head = "| CT | segment | found | voxels back | numbers back | export | dciodvfy errors | read by others |"
    rows = [head, "|---" * 8 + "|"]
    for name in CASES:
        rows.append(check(name, arguments.data, arguments.keep).row)
        print(rows[-1], flush=True)
    title = "# SEG and SR of every real CT at hand, with the shipped networks\n\n"
    command = "`python benchmarks/dicom_objects.py --keep DIR`; its beginning says what is compared.\n\n"
    (RESULTS / "dicom_objects_real.md").write_text(title + command + "\n".join(rows) + "\n" + NOTES, encoding="utf-8")


if __name__ == "__main__":
    main()
