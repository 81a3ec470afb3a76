r"""Five-fold cross-validation of the nodule bundle, through the product's own road.

Every cube of `nodules_luna` is segmented by `lungseg3d segment --roi full --at middle` with the weights of the fold
that held it out, and its mask compared with what at least two readers outlined; further nodules in the cube are left
out of both. Every nodule lies in the middle of its cube, so this measures outlining and not finding; with weights for
finding alone (no `--outlines`) nothing is named, and what the search finds in the cube is compared.
Prints mean 3D Dice with its 95 % bootstrap interval over nodules, by size and texture. `results/nodule_folds.md` is
older: it was measured on `nodules_lidc`, another set, and its scores do not compare with those of this one.

    python -m benchmarks.nodule_folds --weights 'runs/fold-{fold}/model.pt' \
        --outlines 'runs/outline-{fold}/model.pt' --data ../shared/data/nodules_luna
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.fold_bundle import bundle_of_fold
from lungseg3d.data import load_datalist, read_manifest
from lungseg3d.io import CaseFolder, read_labels
from lungseg3d.metrics import bootstrap_mean, dice
from lungseg3d.workflows.evaluate.nodules import TEXTURES
from lungseg3d.workflows.listing.maps import read_findings
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases

RESULTS = Path(__file__).parent / "results"
MANIFEST = "nodules_luna"


def segment_fold(fold: int, asked: argparse.Namespace, data: Path, scratch: Path) -> dict[str, float]:
    """Dice of each held-out nodule of one fold, by case id."""
    bundle = bundle_of_fold(fold, asked.weights, asked.outlines, scratch / f"bundle-{fold}")
    cases = load_datalist(MANIFEST, data, fold=fold, held_out=True)
    can_outline = (bundle / "models" / "outline.pt").is_file()
    options = SegmentOptions(roi="full", nodule_bundle=bundle, at=("middle",) if can_outline else ())
    results = segment_cases([case["image"] for case in cases], scratch / f"fold-{fold}", options)
    scores = {}
    for case, result in zip(cases, results, strict=True):
        if result.status != "done":
            raise SystemExit(f"{case['case_id']} was {result.status}: {result.issues}")
        found = read_findings(CaseFolder(scratch / f"fold-{fold}" / result.case_id), len(result.candidates)).all
        judged = read_labels(case["ignore"]).array == 0 if "ignore" in case else np.ones(found.shape, bool)
        scores[case["case_id"]] = dice(judged & (found.array > 0), judged & (read_labels(case["label"]).array > 0))
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
    parser.add_argument("--data", type=Path, default=Path("../shared/data/nodules_luna"))
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(5)))
    arguments = parser.parse_args()
    facts = {case["case_id"]: case["facts"] for case in read_manifest(MANIFEST)["cases"]}
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for fold in arguments.folds:
            scores = segment_fold(fold, arguments, arguments.data, Path(scratch))
            for case_id, score in scores.items():
                facts_of_case = {key: facts[case_id][key] for key in ("diameter_mm", "texture")}
                rows.append({"case_id": case_id, "fold": fold, "dice": round(score, 4), **facts_of_case})
            print(f"fold {fold}: mean Dice {np.mean(list(scores.values())):.3f}, n = {len(scores)}", flush=True)
    text = table(rows)
    print(text)
    if arguments.folds == list(range(5)):
        RESULTS.mkdir(exist_ok=True)
        at = " --at middle" if arguments.outlines or not arguments.weights else ""
        (RESULTS / f"nodule_folds_{MANIFEST}.md").write_text(
            f"# Nodules: five-fold cross-validation on {MANIFEST}, `--roi full{at}`\n\n" + text, encoding="utf-8"
        )
        with (RESULTS / f"nodule_folds_{MANIFEST}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
