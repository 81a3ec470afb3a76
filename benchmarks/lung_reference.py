"""Lungs of `lung1-001` against the expert's contours, the tumour left out of both.

The tumour, dilated by two voxels, is removed from prediction and reference alike, because the contours leave most of it
out. Prints Dice and 95th percentile Hausdorff distance of each lung, of the network and of the rules.

    python benchmarks/lung_reference.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from scipy import ndimage

from lungseg3d.analysis import segment_lungs_by_rules
from lungseg3d.core.labels import LUNGS, NODULE, NSCLC_RADIOMICS_LUNGS
from lungseg3d.io import read_labels, read_volume
from lungseg3d.metrics import dice, hd95_mm
from lungseg3d.transforms import fill_from_nearest
from lungseg3d.workflows.segment.cases import segment_cases

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    case = parser.parse_args().data / "ct" / "lung1-001"
    with tempfile.TemporaryDirectory() as scratch:
        (result,) = segment_cases([case / "ct.nii.gz"], scratch)
        network = read_labels(Path(scratch) / result.case_id / "labels.nii.gz")
    network = network.with_array(fill_from_nearest(network.array, network.array == NODULE.value))
    rules = segment_lungs_by_rules(read_volume(case / "ct.nii.gz"))
    expert = read_labels(case / "lungs.nii.gz")
    left_out = ndimage.binary_dilation(read_labels(case / "tumour.nii.gz").array > 0, iterations=2)
    lines = ["| lung | Dice, network | HD95, network (mm) | Dice, rules | HD95, rules (mm) |", "|---|---|---|---|---|"]
    theirs = {ours: value for value, ours in NSCLC_RADIOMICS_LUNGS.items()}
    for name, ours, values in [
        *((lung.title, {lung.value}, {theirs[lung.value]}) for lung in LUNGS),
        ("Both", {lung.value for lung in LUNGS}, set(theirs.values())),
    ]:
        reference = sum(expert.array == value for value in values).astype(bool) & ~left_out
        scores = []
        for found in (network, rules):
            mask = sum(found.array == value for value in ours).astype(bool) & ~left_out
            scores += [f"{dice(mask, reference):.3f}", f"{hd95_mm(mask, reference, expert.spacing_mm):.1f}"]
        lines.append(f"| {name} | " + " | ".join(scores) + " |")
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "lung_reference.md").write_text(
        "# Lungs of lung1-001 (n = 1), expert contours, tumour left out\n\n" + text, encoding="utf-8"
    )


if __name__ == "__main__":
    main()
