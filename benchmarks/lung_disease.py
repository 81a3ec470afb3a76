"""How much of a lung is kept when disease is painted into it: CTs that no training saw, each disease several times.

Lungs as the rules mark them, on the working grid; a disease of `lungseg3d.engines` painted in; the lung bundle's
network and its cleaning. For what stays lung (consolidation, collapse, tumour ...): the share of the painted voxels
that is marked as lung. For effusion, which is no lung: the share of it that is left out. And Dice of both lungs.

    python -m benchmarks.lung_disease --data ../shared/data --bundle bundles/lung_ct_segmentation
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from lungseg3d.analysis import segment_lungs_by_rules
from lungseg3d.engines import (
    Collapse,
    Consolidation,
    Emphysema,
    Fibrosis,
    GroundGlass,
    LargeTumour,
    PleuralEffusion,
)
from lungseg3d.inference import Bundle, open_bundle
from lungseg3d.inference.lungs import clean_lungs
from lungseg3d.io import open_ct, shipped_bundle
from lungseg3d.metrics import bootstrap_mean, dice
from lungseg3d.tensors import sample_on, to_meta_tensor, to_volume

RESULTS = Path(__file__).parent / "results"
CTS = {"lung1-001": "ct/lung1-001/ct.nii.gz", "ricord-000082": "ct/ricord-000082/dicom"}
DISEASES = (Consolidation, Collapse, LargeTumour, GroundGlass, Fibrosis, Emphysema, PleuralEffusion)
LOW_HU, HIGH_HU = -1000.0, 400.0


def look(bundle: Bundle, image: torch.Tensor) -> np.ndarray:
    """Label map of (1, X, Y, Z) in [0, 1], on its own grid."""
    probabilities = torch.as_tensor(bundle.infer({"image": image})["pred"]).as_subclass(torch.Tensor).float().numpy()
    lung = probabilities.sum(axis=0) >= 0.5
    return clean_lungs(np.where(lung, 1 + probabilities.argmax(axis=0), 0).astype(np.uint8))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bundle", type=Path, default=shipped_bundle("lung_ct_segmentation"))
    parser.add_argument("--repeats", type=int, default=5, help="paintings of each disease in each CT")
    asked = parser.parse_args()
    bundle = open_bundle(asked.bundle, skip=1, device=torch.device("cpu"))
    scores: dict[str, list[tuple[float, float]]] = {kind.__name__: [] for kind in DISEASES}
    for ct_number, path in enumerate(CTS.values()):
        ct = open_ct(asked.data / path).volume
        image = bundle.preprocessing({"image": to_meta_tensor(ct)})["image"]
        grid = to_volume(image).grid
        label = torch.from_numpy(sample_on(segment_lungs_by_rules(ct), grid, order=0, fill=0).array.astype(np.uint8))
        hu = image.as_subclass(torch.Tensor) * (HIGH_HU - LOW_HU) + LOW_HU
        for kind in DISEASES:
            for repeat in range(asked.repeats):
                rng = np.random.default_rng((ct_number, DISEASES.index(kind), repeat))
                painting = kind(probability=1.0, voxel_mm=float(np.mean(grid.spacing_mm)))
                painted, after = painting(hu[None], label[None, None], ["ct"], [rng])
                ill = image.clone()
                ill[:] = ((painted[0] - LOW_HU) / (HIGH_HU - LOW_HU)).clamp(0, 1)
                found, truth = look(bundle, ill), after[0, 0].numpy()
                changed = ((painted[0, 0] - hu[0]).abs() > 100).numpy() & (label > 0).numpy()
                kept = changed & (truth > 0)
                share = (found[kept] > 0).mean() if kept.any() else (found[changed] == 0).mean()
                scores[kind.__name__].append((float(share), dice(found > 0, truth > 0)))
    lines = [
        "| painted | n | right about it | 95 % interval | worst | Dice of both lungs |",
        "|---|---|---|---|---|---|",
    ]
    for name, pairs in scores.items():
        shares, overlaps = np.array(pairs).T
        interval = bootstrap_mean(shares)
        lines.append(
            f"| {name} | {len(shares)} | {shares.mean():.2f} | {interval.low:.2f} to {interval.high:.2f} "
            f"| {shares.min():.2f} | {overlaps.mean():.3f} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.bundle == shipped_bundle("lung_ct_segmentation"):
        title = "# Lungs with painted disease (CTs that no training saw; the rules' lungs as reference)\n\n"
        (RESULTS / "lung_disease.md").write_text(title + text, encoding="utf-8")


if __name__ == "__main__":
    main()
