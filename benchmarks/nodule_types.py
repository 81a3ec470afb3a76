"""Textures of nodules against what readers called them: fitted on five folds by patient, and on all of them to ship.

The reader's word is the mean rating of texture of `nodules_luna`: ground glass below 2.5, part-solid below 4, else
solid. Each fold is classified by what was fitted on the other four, on the readers' consensus mask; with `--outlines`,
a folder of masks `<id>.nii.gz`, on these. The rule of one HU limit (`analysis.kind_of`) stands beside it.

    python -m benchmarks.nodule_types --data ../shared/data/nodules_luna
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from lungseg3d.analysis import kind_of
from lungseg3d.analysis.nodules.texture import TEXTURES, TextureClassifier, texture_features
from lungseg3d.io import read_labels, read_volume

RESULTS = Path(__file__).parent / "results"
LIMITS = (2.5, 4.0)
"""Mean ratings from which readers call a nodule part-solid, and solid."""
RESAMPLES = 2000
_SOLID_HU = -300


def fit(features: np.ndarray, called: np.ndarray) -> TextureClassifier:
    """The classifier of features (N, F) of nodules called 0, 1 or 2, (N,); each class weighs the same."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = features.mean(axis=0), features.std(axis=0)
    model = LogisticRegression(class_weight="balanced", C=1.0, max_iter=5000)
    model.fit((features - mean) / scale, called)
    return TextureClassifier(mean, scale, model.coef_, model.intercept_)


def balanced_accuracy(called: np.ndarray, said: np.ndarray) -> float:
    """Mean over the classes of the share that was called right."""
    return float(np.mean([(said[called == k] == k).mean() for k in np.unique(called)]))


def weighted_kappa(one: np.ndarray, other: np.ndarray) -> float:
    """Cohen's kappa with quadratic weights (Cohen 1968, Psychol Bull 70:213)."""
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(one, other, weights="quadratic"))


def interval(called: np.ndarray, said: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
    """95 % interval of the balanced accuracy, by a bootstrap over patients."""
    names, whose = np.unique(patients, return_inverse=True)
    of_patient = [np.flatnonzero(whose == number) for number in range(len(names))]
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([of_patient[i] for i in random.integers(0, len(names), len(names))])
        drawn.append(balanced_accuracy(called[chosen], said[chosen]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def table(called: np.ndarray, methods: dict[str, np.ndarray], patients: np.ndarray) -> str:
    """Markdown: each method against the readers."""
    counts = ", ".join(f"{int((called == k).sum())} {name}" for k, name in enumerate(TEXTURES))
    lines = [
        f"{len(called)} nodules of {len(np.unique(patients))} patients: {counts}, by the readers' mean rating.",
        "",
        "| method | balanced accuracy | recall of " + " | ".join(TEXTURES) + " | recall of subsolid | weighted kappa |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, said in methods.items():
        low, high = interval(called, said, patients)
        recalls = [f"{(said[called == k] == k).mean():.2f}" for k in range(len(TEXTURES))]
        subsolid = (said[called < 2] < 2).mean()
        lines.append(
            f"| {name} | {balanced_accuracy(called, said):.3f} ({low:.3f} to {high:.3f}) | {' | '.join(recalls)} "
            f"| {subsolid:.2f} | {weighted_kappa(called, said):.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/nodules_luna"))
    parser.add_argument("--outlines", type=Path, help="folder of masks in place of the readers' consensus")
    parser.add_argument("--write", type=Path, help="file for the classifier that was fitted on all folds")
    arguments = parser.parse_args()
    masks = arguments.outlines or arguments.data / "labels"
    features, called, by_limit, folds, patients = [], [], [], [], []
    with (arguments.data / "nodules.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            mask = read_labels(masks / f"{row['id']}.nii.gz").array > 0
            if not mask.any():
                continue
            ct = read_volume(arguments.data / "images" / f"{row['id']}.nii.gz")
            features.append(texture_features(ct.array, mask, ct.spacing_mm))
            by_limit.append(TEXTURES.index(kind_of(float((ct.array[mask] > _SOLID_HU).mean()))))
            called.append(int(np.searchsorted(LIMITS, float(row["texture"]), side="right")))
            folds.append(int(row["fold"]))
            patients.append(row["patient"])
    seen, wanted, fold = np.array(features), np.array(called), np.array(folds)
    said = np.zeros_like(wanted)
    for held in np.unique(fold):
        said[fold == held] = fit(seen[fold != held], wanted[fold != held]).probabilities(seen[fold == held]).argmax(1)
    text = table(wanted, {"one HU limit": np.array(by_limit), "classifier": said}, np.array(patients))
    print(text)
    if arguments.outlines is None:
        (RESULTS / "nodule_types.md").write_text("# Textures of nodules against readers\n\n" + text, encoding="utf-8")
    if arguments.write is not None:
        content = {**fit(seen, wanted).plain(), "fitted_on": {"manifest": "nodules_luna", "nodules": len(wanted)}}
        arguments.write.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
