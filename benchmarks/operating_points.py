"""Operating points of the nodule bundle: from which confidence findings are listed, and what that costs.

Every cube of `nodules_luna` whose patient the present weights have not seen is looked at everywhere, as
`segment --roi full` does. A finding that touches a nodule of the cube is true; one that touches or lies near what
LUNA16 leaves out of its scores (nodules of one or two readers, small nodules, other reference nodules) does not count;
all others in lung are false. `LITRES_A_SCAN` litres of lung in the cubes count as one scan. The thresholds of a fold
come from the other folds, and what they cost is counted on the fold; the thresholds that ship come from all folds.

    python -m benchmarks.operating_points find --data ../shared/data/nodules_luna --out findings.csv   # resumable
    python -m benchmarks.operating_points fit --findings findings.csv [--bundle bundles/lung_nodule_ct_segmentation]

`fit` writes `configs/operating_points.json` of the bundle and `benchmarks/results/operating_points.md`.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from scipy import ndimage

FIELDS = ("cube", "fold", "patient", "diameter_mm", "texture", "lung_ml", "value", "confidence", "kind", "volume_mm3",
          "in_lung", "outcome")
NEAR_MM = 3.0
"""A point of a reader so near to a finding means the finding."""
_LUNG_HU, _CLOSING_VOXELS = -400, 5
_LEFT_OUT = {"luna_nodule", "excluded_nodule", "small_nodule"}


def unseen_cubes(data: Path) -> list[dict[str, str]]:
    """Rows of `nodules.csv` of patients of whom no weight has seen a nodule."""
    with (data / "nodules.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    seen = {row["patient"] for row in rows if row["in_134"]}
    return [row for row in rows if row["patient"] not in seen]


def lung_of(hu: np.ndarray) -> np.ndarray:
    """Lung in a cube (X, Y, Z) of 1 mm: air, closed over vessels and nodules."""
    ball = ndimage.iterate_structure(ndimage.generate_binary_structure(3, 1), _CLOSING_VOXELS)
    padded = np.pad(hu < _LUNG_HU, _CLOSING_VOXELS, mode="edge")
    closed = ndimage.binary_closing(padded, ball)
    inner = (slice(_CLOSING_VOXELS, -_CLOSING_VOXELS),) * 3
    return closed[inner]


def judge_findings(
    row: dict[str, str], hu: np.ndarray, found: np.ndarray, confidence: list[float], marks: list[dict[str, str]],
    masks: dict[str, np.ndarray],
) -> list[dict]:
    """One row for each finding of a cube, and one of value 0 that says how the cube's own nodule fared."""
    from lungseg3d.analysis import kind_of

    lung = lung_of(hu)
    common = {key: row[key] for key in ("fold", "patient", "diameter_mm", "texture")}
    common |= {"cube": row["id"], "lung_ml": round(float(lung.sum()) / 1000, 2)}
    near_lung = ndimage.distance_transform_edt(~lung) <= NEAR_MM
    points = np.array([[float(m[a]) for a in "xyz"] for m in marks if m["kind"] in _LEFT_OUT]).reshape(-1, 3)
    touched = ndimage.binary_dilation(masks["label"])
    left_out = ndimage.binary_dilation(masks["others"])
    rows = [common | {"value": 0, "outcome": "cube"}]
    for value in range(1, len(confidence) + 1):
        mask = found == value
        if not mask.any():
            continue
        away_mm = ndimage.distance_transform_edt(~mask)
        at = np.clip(np.rint(points).astype(int), 0, np.array(mask.shape) - 1)
        is_left_out = bool((mask & left_out).any()) or bool((away_mm[tuple(at.T)] <= NEAR_MM).any())
        outcome = "true" if (mask & touched).any() else "left out" if is_left_out else "false"
        rows.append(common | {
            "value": value, "confidence": round(confidence[value - 1], 6), "outcome": outcome,
            "kind": kind_of(float((hu[mask] > -300).mean())), "volume_mm3": int(mask.sum()),
            "in_lung": round(float(near_lung[mask].mean()), 3),
        })
    return rows


def find(arguments: argparse.Namespace) -> None:
    """Look at every cube, and write what was found there."""
    from lungseg3d.io import read_labels, read_volume
    from lungseg3d.tensors import to_meta_tensor, to_volume
    from lungseg3d.workflows.segment_models import open_models
    from lungseg3d.workflows.segment_options import SegmentOptions

    models = open_models(SegmentOptions(roi="full", nodule_bundle=arguments.bundle)).nodules
    cubes = unseen_cubes(arguments.data)
    with (arguments.data / "marks.csv").open(encoding="utf-8", newline="") as file:
        marks = list(csv.DictReader(file))
    done = set()
    if arguments.out.is_file():
        with arguments.out.open(encoding="utf-8", newline="") as file:
            done = {row["cube"] for row in csv.DictReader(file)}
    with arguments.out.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not done:
            writer.writeheader()
        for number, row in enumerate(cubes, start=1):
            if row["id"] in done:
                continue
            ct = read_volume(arguments.data / "images" / f"{row['id']}.nii.gz")
            data = models.preprocessing({"image": to_meta_tensor(ct)})
            data = models.postprocessing(models.infer(data))
            found = to_volume(data["nodules"])
            masks = {}
            for name, folder in (("label", "labels"), ("others", "others")):
                path = arguments.data / folder / f"{row['id']}.nii.gz"
                masks[name] = read_labels(path).array > 0 if path.is_file() else np.zeros(ct.shape, bool)
            own = [mark for mark in marks if mark["id"] == row["id"]]
            sure = list(data["nodules"].meta["confidence"])
            writer.writerows(judge_findings(row, ct.array, found.array, sure, own, masks))
            file.flush()
            if number % 25 == 0:
                print(f"{number} of {len(cubes)} cubes", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    finding = verbs.add_parser("find")
    finding.add_argument("--data", type=Path, default=Path("../shared/data/nodules_luna"))
    finding.add_argument("--out", type=Path, required=True)
    finding.add_argument("--bundle", type=Path, default=Path("bundles/lung_nodule_ct_segmentation"))
    finding.set_defaults(do=find)
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()
