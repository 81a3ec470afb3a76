"""Five-fold cross-validation of the nodule bundle, through the product's own road.

Every crop of `nodules_lidc` is segmented by `lungseg3d segment --roi full` with the weights of the fold that held it
out, and its mask compared with the reader's. Prints mean 3D Dice with its 95 % bootstrap interval, by size and texture.

    python -m benchmarks.nodule_folds --weights 'runs/fold-{fold}/model.pt' \\
        --outlines 'runs/outline-{fold}/model.pt' --data ../shared/data/nodules_lidc
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.fold_bundle import bundle_of_fold
from lungseg3d.data import load_datalist
from lungseg3d.io import read_labels
from lungseg3d.metrics import bootstrap_mean, dice
from lungseg3d.workflows.evaluate_nodules import TEXTURES
from lungseg3d.workflows.segment import SegmentOptions, segment_cases

RESULTS = Path(__file__).parent / "results"


def segment_fold(fold: int, asked: argparse.Namespace, data: Path, scratch: Path) -> dict[str, float]:
    """Dice of each held-out nodule of one fold, by case id."""
    bundle = bundle_of_fold(fold, asked.weights, asked.outlines, scratch / f"bundle-{fold}")
    cases = load_datalist("nodules_lidc", data, fold=fold, held_out=True)
    options = SegmentOptions(roi="full", nodule_bundle=bundle)
    results = segment_cases([case["image"] for case in cases], scratch / f"fold-{fold}", options)
    scores = {}
    for case, result in zip(cases, results, strict=True):
        if result.status != "done":
            raise SystemExit(f"{case['case_id']} was {result.status}: {result.issues}")
        found = read_labels(scratch / f"fold-{fold}" / result.case_id / "nodules.nii.gz")
        scores[case["case_id"]] = dice(found.array > 0, read_labels(case["label"]).array > 0)
    return scores


def table(rows: list[dict]) -> str:
    """Markdown: mean Dice, interval and n of all and of each stratum."""
    strata = {"all": rows}
    for low, high in ((0, 8), (8, 15), (15, 99)):
        strata[f"{low}-{high} mm"] = [row for row in rows if low <= row["diameter_mm"] < high]
    for value, name in TEXTURES.items():
        strata[name] = [row for row in rows if row["texture"] == value]
    for fold in range(5):
        strata[f"fold {fold}"] = [row for row in rows if row["fold"] == fold]
    lines = ["| stratum | n | mean 3D Dice | 95 % interval | median |", "|---|---|---|---|---|"]
    for name, members in strata.items():
        scores = np.array([row["dice"] for row in members])
        if len(scores) < 2:
            continue
        interval = bootstrap_mean(scores)
        lines.append(
            f"| {name} | {len(scores)} | {scores.mean():.3f} | {interval.low:.3f} to {interval.high:.3f} "
            f"| {np.median(scores):.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="path with {fold} in it")
    parser.add_argument("--outlines", help="path with {fold} in it, of the network that outlines")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/nodules_lidc"))
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(5)))
    arguments = parser.parse_args()
    with (arguments.data / "nodules.csv").open(encoding="utf-8", newline="") as file:
        facts = {row["id"]: row for row in csv.DictReader(file)}
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for fold in arguments.folds:
            scores = segment_fold(fold, arguments, arguments.data, Path(scratch))
            for case_id, score in scores.items():
                fact = facts[case_id]
                facts_of_case = {"diameter_mm": float(fact["diameter_mm"]), "texture": int(fact["texture"])}
                rows.append({"case_id": case_id, "fold": fold, "dice": round(score, 4), **facts_of_case})
            print(f"fold {fold}: mean Dice {np.mean(list(scores.values())):.3f}, n = {len(scores)}", flush=True)
    text = table(rows)
    print(text)
    if arguments.folds == list(range(5)):
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "nodule_folds.md").write_text(
            "# Nodules: five-fold cross-validation on nodules_lidc, `--roi full`\n\n" + text, encoding="utf-8"
        )
        with (RESULTS / "nodule_folds.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
