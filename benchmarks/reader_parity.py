r"""Outlines against each reader: does a reader agree with the network as well as with another reader?

Each held-out nodule of `nodules_luna` is outlined around its middle, moved at random by up to `--jitter` mm along each
axis, as a finder would place it. *Reader parity* is the mean Dice of the network with each reader less the mean Dice of
the readers with each other, on the same nodules; the *ceiling* is what a consensus of the other readers reaches.

    python -m benchmarks.reader_parity --weights 'runs/outline-{fold}/model.pt' --data ../shared/data/nodules_luna \
        --out outlines.csv
"""

from __future__ import annotations

import argparse
import csv
import itertools
from pathlib import Path

import numpy as np

from lungseg3d.metrics import dice
from lungseg3d.metrics.patient_means import mean_of_patients
from lungseg3d.transforms.readers import reader_masks

WINDOW = 48
STRATA = {
    "all": lambda row: True,
    "6 mm and more": lambda row: row["diameter_mm"] >= 6,
    "below 6 mm": lambda row: row["diameter_mm"] < 6,
    "6 to 10 mm": lambda row: 6 <= row["diameter_mm"] < 10,
    "10 to 20 mm": lambda row: 10 <= row["diameter_mm"] < 20,
    "20 mm and more": lambda row: row["diameter_mm"] >= 20,
    "not solid (texture below 4.5)": lambda row: row["texture"] < 4.5,
}


def compare_with_readers(outline: np.ndarray, bits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Agreement of an outline with each reader, of the readers with each other, and of a consensus of the others.

    Args:
        outline, label: bool (X, Y, Z), the network's mask and what at least two readers outlined.
        bits: masks of readers, bit k set where reader k outlined, (X, Y, Z).
    """
    masks = reader_masks(bits)
    others = [dice(mask, _consensus(np.delete(masks, i, axis=0))) for i, mask in enumerate(masks)]
    volumes = np.array([mask.sum() for mask in masks], float)
    return {
        "with_label": dice(outline, label),
        "with_readers": float(np.mean([dice(outline, mask) for mask in masks])),
        "between_readers": float(np.mean([dice(a, b) for a, b in itertools.combinations(masks, 2)])),
        "with_others": float(np.mean(others)),
        "log_volume_ratio": float(np.log(max(outline.sum(), 1) / label.sum())),
        "log_reader_spread": float(np.log(volumes).std(ddof=1)),
    }


def _consensus(masks: np.ndarray) -> np.ndarray:
    """What at least half of these readers outlined, at least one of them."""
    agreed: np.ndarray = masks.mean(axis=0) >= 0.5
    return agreed


def outline_cubes(arguments: argparse.Namespace) -> list[dict]:
    """One row for each nodule of the folds and each threshold."""
    import torch

    from lungseg3d.inference import MirroredViews, OutlineCandidatesd
    from lungseg3d.io import read_labels, read_volume
    from lungseg3d.networks import CentredUNet3d

    with (arguments.data / "nodules.csv").open(encoding="utf-8", newline="") as file:
        cubes = [row for row in csv.DictReader(file) if int(row["fold"]) in arguments.folds]
    outliners: dict[str, MirroredViews] = {}
    rows = []
    for cube in cubes:
        if cube["fold"] not in outliners:
            network = CentredUNet3d(2, arguments.channels).eval()
            path = Path(arguments.weights.format(fold=cube["fold"]))
            network.load_state_dict(torch.load(path, weights_only=True))
            outliners[cube["fold"]] = MirroredViews(network, flips=(0, 1))
        hu, bits, label = (
            read(arguments.data / folder / f"{cube['id']}.nii.gz").array
            for read, folder in ((read_volume, "images"), (read_labels, "readers"), (read_labels, "labels"))
        )
        image = torch.from_numpy(np.clip((hu.astype(np.float32) + 1000) / 1400, 0, 1))[None]
        random = np.random.default_rng(int(cube["id"].rpartition("-")[2]))
        middle = (np.array(hu.shape) - 1) / 2 + random.uniform(-arguments.jitter, arguments.jitter, 3)
        for threshold in arguments.thresholds:
            outliner = OutlineCandidatesd("pred", outliners[cube["fold"]], roi_size=WINDOW, threshold=threshold)
            piece, box = outliner.outline_around(image, middle, WINDOW)
            outline = np.zeros(hu.shape, bool)
            outline[box.slices] = piece >= 0.5
            facts = {key: float(cube[key]) for key in ("diameter_mm", "texture")}
            scores = compare_with_readers(outline, bits, label > 0)
            at = {"cube": cube["id"], "fold": cube["fold"], "patient": cube["patient"], "threshold": threshold}
            rows.append(at | facts | scores)
    return rows


def table(rows: list[dict]) -> str:
    """Markdown: parity, ceiling, Dice and volume ratio of each stratum, with intervals by patient."""
    lines = [
        "| nodules | n | Dice with two or more readers | reader parity | ceiling | volume ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, belongs in STRATA.items():
        chosen = [row for row in rows if belongs(row)]
        patients = [row["patient"] for row in chosen]
        overlap = mean_of_patients([row["with_label"] for row in chosen], patients, within=(0, 1))
        parity = mean_of_patients([row["with_readers"] - row["between_readers"] for row in chosen], patients)
        ceiling = np.mean([row["with_others"] - row["between_readers"] for row in chosen])
        ratio = mean_of_patients([row["log_volume_ratio"] for row in chosen], patients)
        lines.append(
            f"| {name} | {len(chosen)} | {overlap.mean:.3f} ({overlap.low:.3f} to {overlap.high:.3f}) "
            f"| {parity.mean:+.3f} ({parity.low:+.3f} to {parity.high:+.3f}) | {ceiling:+.3f} "
            f"| {np.exp(ratio.mean):.2f} ({np.exp(ratio.low):.2f} to {np.exp(ratio.high):.2f}) |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="path with {fold} in it")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/nodules_luna"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(5)))
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128, 160])
    parser.add_argument("--jitter", type=float, default=2.0)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.4, 0.45, 0.5])
    arguments = parser.parse_args()
    rows = outline_cubes(arguments)
    with arguments.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for threshold in arguments.thresholds:
        print(f"threshold {threshold:g}\n\n{table([row for row in rows if row['threshold'] == threshold])}")


if __name__ == "__main__":
    main()
