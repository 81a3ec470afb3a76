"""Operating points of the nodule bundle: from which confidence findings are listed, and what that costs.

Every cube of `nodules_luna` whose patient the present weights that find and judge have not seen is looked at
everywhere, as `segment --roi full` does; the network that outlines has seen most of them, and has no part in how sure
a finding is. A finding that touches a nodule of the cube is true; one that touches or lies near what
LUNA16 leaves out of its scores (nodules of one or two readers, small nodules, other reference nodules) does not count;
all others in lung are false. `LITRES_A_SCAN` litres of lung in the cubes count as one scan. The thresholds of a fold
come from the other folds, and what they cost is counted on the fold; the thresholds that ship come from all folds.

    python -m benchmarks.operating_points find --data ../shared/data/nodules_luna --out findings.csv   # resumable
    python -m benchmarks.operating_points fit --findings findings.csv

`fit` writes `configs/operating_points.json` of the bundle and `benchmarks/results/operating_points.md`.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from lungseg3d.analysis import LARGE_GLASS, kind_of, listing_kind

RESULTS = Path(__file__).parent / "results"
LITRES_A_SCAN = 4.5
RATES = (*np.arange(1, 32) / 8, 4.0)
NAMED = {"default": 1.0, "sensitive": 4.0}
RESAMPLES = 1000
FIELDS = (
    "cube",
    "fold",
    "patient",
    "diameter_mm",
    "texture",
    "lung_ml",
    "value",
    "confidence",
    "kind",
    "volume_mm3",
    "in_lung",
    "outcome",
)
WORTH_A_FALSE_ONE = 0.01
"""Share of all nodules within which two pairs of thresholds count as equally good."""
LARGE_GLASS_LEAST = 0.1
"""Ground glass of 10 mm and more is too rare in the cubes to be fitted (one true finding, no false one): it is listed
where at least one in ten of its confidence is a nodule, as much depends on it and little is like it."""
NEAR_MM = 3.0
"""A point of a reader so near to a finding means the finding."""
_LUNG_HU, _CLOSING_VOXELS = -400, 5
_LEFT_OUT = {"luna_nodule", "excluded_nodule", "small_nodule"}


def unseen_cubes(data: Path) -> list[dict[str, str]]:
    """Rows of `nodules.csv` of patients of whom the weights that find and judge have seen no nodule."""
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
    row: dict[str, str],
    hu: np.ndarray,
    found: np.ndarray,
    confidence: list[float],
    marks: list[dict[str, str]],
    masks: dict[str, np.ndarray],
) -> list[dict]:
    """One row for each finding of a cube, and one of value 0 that says how the cube's own nodule fared."""
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
        rows.append(
            common
            | {
                "value": value,
                "confidence": round(confidence[value - 1], 6),
                "outcome": outcome,
                "kind": kind_of(float((hu[mask] > -300).mean())),
                "volume_mm3": int(mask.sum()),
                "in_lung": round(float(near_lung[mask].mean()), 3),
            }
        )
    return rows


def find(arguments: argparse.Namespace) -> None:
    """Look at every cube, and write what was found there."""
    from lungseg3d.io import read_labels, read_volume
    from lungseg3d.tensors import to_meta_tensor, to_volume
    from lungseg3d.workflows.segment.models import open_models
    from lungseg3d.workflows.segment.options import SegmentOptions

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


@dataclass(frozen=True)
class Marks:
    """Findings in lung of the cubes, and the cubes.

    Attributes:
        sure: calibrated confidence of each finding, (F,).
        is_glass: whether it is of the kind ground glass, (F,).
        is_large_glass: whether it is ground glass of 10 mm or more, (F,).
        is_false: whether it is false, (F,); the others are true.
        cube: index of its cube, (F,).
        fold, patient, litres: of each cube, (C,).
    """

    sure: np.ndarray
    is_glass: np.ndarray
    is_large_glass: np.ndarray
    is_false: np.ndarray
    cube: np.ndarray
    fold: np.ndarray
    patient: np.ndarray
    litres: np.ndarray

    def listed(self, thresholds: tuple[float, float]) -> np.ndarray:
        """Which findings are listed at thresholds of (solid and part-solid, ground glass) ones."""
        least = np.where(self.is_glass, thresholds[1], thresholds[0])
        large = min(LARGE_GLASS_LEAST, thresholds[1])
        return self.sure >= np.where(self.is_large_glass, large, least)

    def count(self, listed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each cube: whether its nodule is listed, and how many false findings are."""
        hit = np.zeros(len(self.fold), bool)
        hit[self.cube[listed & ~self.is_false]] = True
        return hit, np.bincount(self.cube[listed & self.is_false], minlength=len(self.fold))


def read_marks(path: Path, calibrate: Callable[[np.ndarray], np.ndarray]) -> tuple[Marks, list[dict[str, str]]]:
    """The findings that count, and the row of each cube."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    cubes = [row for row in rows if row["outcome"] == "cube"]
    index = {row["cube"]: number for number, row in enumerate(cubes)}
    found = [row for row in rows if row["outcome"] in ("true", "false") and float(row["in_lung"]) > 0.5]
    marks = Marks(
        calibrate(np.array([float(row["confidence"]) for row in found])),
        np.array([row["kind"] == "ground-glass" for row in found]),
        np.array([listing_kind(row["kind"], float(row["volume_mm3"])) == LARGE_GLASS for row in found]),
        np.array([row["outcome"] == "false" for row in found]),
        np.array([index[row["cube"]] for row in found]),
        np.array([int(row["fold"]) for row in cubes]),
        np.array([row["patient"] for row in cubes]),
        np.array([float(row["lung_ml"]) for row in cubes]) / 1000,
    )
    return marks, cubes


def pick_thresholds(marks: Marks, rate: float, cubes: np.ndarray) -> tuple[float, float]:
    """The two thresholds at which most nodules of `cubes` (C,) are listed with at most `rate` false ones a scan.

    Of pairs that list nearly as many (`WORTH_A_FALSE_ONE` of all nodules fewer at most), the one with the fewest false
    findings: the best of very many pairs is best by chance. Each threshold lies midway between two findings, so that
    the last digit of a confidence decides nothing.
    """
    inside = cubes[marks.cube]
    most_false = rate * marks.litres[cubes].sum() / LITRES_A_SCAN
    cuts = [_cuts(marks.sure[inside & (marks.is_glass == glass)]) for glass in (False, True)]
    pairs = []
    for glass in cuts[1]:
        for solid in cuts[0]:
            listed = marks.listed((solid, glass)) & inside
            false = int(marks.is_false[listed].sum())
            if false <= most_false:
                pairs.append((false, -int(marks.count(listed)[0].sum()), -solid - glass, solid, glass))
            if false < most_false / 2:
                break  # stricter ones list far fewer nodules
    least = min(hits for _, hits, *_ in pairs) + WORTH_A_FALSE_ONE * cubes.sum()
    return min(pair for pair in pairs if pair[1] <= least)[3:]


def _cuts(sure: np.ndarray) -> list[float]:
    values = np.unique(sure)
    return [0.0, *((values[1:] + values[:-1]) / 2).tolist(), 1.0]


def cross_fit(marks: Marks, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Hits and false findings of each cube (C,), listed by thresholds of the other folds."""
    hits, false = np.zeros(len(marks.fold), bool), np.zeros(len(marks.fold), int)
    for fold in np.unique(marks.fold):
        held = marks.fold == fold
        hit, wrong = marks.count(marks.listed(pick_thresholds(marks, rate, ~held)))
        hits[held], false[held] = hit[held], wrong[held]
    return hits, false


def intervals(marks: Marks, hits: np.ndarray, false: np.ndarray, chosen: np.ndarray) -> tuple[dict, dict]:
    """(sensitivity, false findings a scan) of `chosen` cubes, each with a 95 % bootstrap interval over patients."""
    names, whose = np.unique(marks.patient, return_inverse=True)
    sums = np.zeros((len(names), 4))
    for column, values in enumerate((hits, chosen, false, marks.litres)):
        np.add.at(sums[:, column], whose, values * chosen)
    sums = sums[sums[:, 1] > 0]
    random = np.random.default_rng(0)
    drawn = np.array([sums[random.integers(0, len(sums), len(sums))].sum(axis=0) for _ in range(RESAMPLES)])

    def of(upper: int, lower: int, scale: float) -> dict[str, float]:
        shares = drawn[:, upper] / drawn[:, lower] * scale
        low, high = np.percentile(shares, [2.5, 97.5])
        value = sums[:, upper].sum() / sums[:, lower].sum() * scale
        return {"value": round(value, 3), "low": round(low, 3), "high": round(high, 3)}

    return of(0, 1, 1.0), of(2, 3, LITRES_A_SCAN)


def strata(cubes: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """Name of a part of the nodules -> which cubes (C,)."""
    sizes = np.array([float(row["diameter_mm"]) for row in cubes])
    textures = np.array([float(row["texture"]) for row in cubes])
    return {
        "all": sizes > 0,
        "below 6 mm": sizes < 6,
        "6 to 10 mm": (sizes >= 6) & (sizes < 10),
        "10 mm and more": sizes >= 10,
        "ground glass (texture 1 and 2)": textures < 2.5,
        "part-solid (texture 3)": (textures >= 2.5) & (textures < 3.5),
        "solid (texture 4 and 5)": textures >= 3.5,
    }


def least_of(thresholds: tuple[float, float]) -> dict[str, float]:
    """Kind of nodule -> threshold."""
    solid, glass = (round(value, 6) for value in thresholds)
    return {"solid": solid, "part-solid": solid, "ground-glass": glass, LARGE_GLASS: min(glass, LARGE_GLASS_LEAST)}


def fit(arguments: argparse.Namespace) -> None:
    """Fit the points, and write them into the bundle and as a table."""
    from lungseg3d.inference import open_bundle, read_calibration

    bundle = open_bundle(arguments.bundle, skip=1, roi="full")
    fitted, issues = read_calibration(bundle.root, bundle.confidence_sha256, bundle.rule_sha256)
    if fitted is None:
        raise SystemExit(f"the bundle has no calibration for these weights and this rule: {issues}")
    marks, cubes = read_marks(arguments.findings, fitted)
    everywhere = np.ones(len(cubes), bool)
    parts = strata(cubes)
    litres = float(marks.litres.sum())
    sizes = [float(row["diameter_mm"]) for row in cubes]
    text = (
        f"{len(cubes)} nodules of {len(set(marks.patient))} LIDC-IDRI patients (LUNA16's reference nodules, "
        f"{min(sizes):.1f} to {max(sizes):.1f} mm) in cubes of 50 mm, {litres:.1f} l of lung; "
        "none known to the weights that find and judge"
    )
    curve: dict[str, list] = {"asked_false_findings_a_scan": [], "false_findings_a_scan": [], "sensitivity": []}
    least: dict[str, list[float]] = {}
    points = {}
    for rate in RATES:
        hits, false = cross_fit(marks, float(rate))
        share, wrong = intervals(marks, hits, false, everywhere)
        thresholds = least_of(pick_thresholds(marks, float(rate), everywhere))
        curve["asked_false_findings_a_scan"].append(float(rate))
        curve["false_findings_a_scan"].append(wrong["value"])
        curve["sensitivity"].append(share["value"])
        for kind, value in thresholds.items():
            least.setdefault(kind, []).append(value)
        for name in (name for name, asked in NAMED.items() if asked == rate):
            by_part = {part: intervals(marks, hits, false, chosen)[0] for part, chosen in parts.items()}
            points[name] = {
                "asked_false_findings_a_scan": float(rate),
                "least_confidence": thresholds,
                "false_findings_a_scan": wrong,
                "sensitivity": share,
                "sensitivity_by_part": by_part,
            }
    for key in ("false_findings_a_scan", "sensitivity"):  # chance of the folds must not make a curve fall
        curve[key] = np.maximum.accumulate(curve[key]).tolist()
    content = {
        "schema_version": 1,
        "weights_sha256": bundle.confidence_sha256,
        "rule_sha256": bundle.rule_sha256,
        "population": {
            "text": text,
            "manifest": "nodules_luna",
            "nodules": len(cubes),
            "patients": len(set(marks.patient)),
            "litres_of_lung": round(litres, 2),
            "litres_a_scan": LITRES_A_SCAN,
            "folds": 5,
        },
        "size_floor_mm": round(min(sizes), 1),
        "points": points,
        "curve": curve | {"least_confidence": least},
    }
    target = arguments.bundle / "configs" / "operating_points.json"
    target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "operating_points.md").write_text(_page(content, {k: int(v.sum()) for k, v in parts.items()}), "utf-8")


def _page(content: dict, counts: dict[str, int]) -> str:
    """The result as Markdown."""
    points, curve = content["points"], content["curve"]
    lines = [
        "# Operating points of the nodule bundle",
        "",
        content["population"]["text"] + ".",
        f"{LITRES_A_SCAN} l of lung count as one scan; thresholds cross-fitted over five folds by patient.",
        "",
        "| point | listed from (others / ground glass / from 10 mm) | false findings a scan | sensitivity |",
        "|---|---|---|---|",
    ]
    for name, point in points.items():
        cut = point["least_confidence"]
        cells = (
            f"{p['value']:.2f} ({p['low']:.2f} to {p['high']:.2f})"
            for p in (point["false_findings_a_scan"], point["sensitivity"])
        )
        lines.append(
            f"| {name} | {cut['solid']:.3f} / {cut['ground-glass']:.3f} / {cut[LARGE_GLASS]:.3f} | "
            + " | ".join(cells)
            + " |"
        )
    lines += ["", "| nodules | n | " + " | ".join(points) + " |", "|---|---|" + "---|" * len(points)]
    for part, n in counts.items():
        cells = (
            f"{p['value']:.2f} ({p['low']:.2f} to {p['high']:.2f})"
            for p in (point["sensitivity_by_part"][part] for point in points.values())
        )
        lines.append(f"| {part} | {n} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "The curve, cross-fitted:",
        "",
        "| asked: false findings a scan | measured | sensitivity |",
        "|---|---|---|",
    ]
    columns = ("asked_false_findings_a_scan", "false_findings_a_scan", "sensitivity")
    lines += [
        f"| {asked:.3f} | {rate:.2f} | {share:.3f} |"
        for asked, rate, share in zip(*(curve[column] for column in columns), strict=True)
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("bundles/lung_nodule_ct_segmentation"))
    verbs = parser.add_subparsers(required=True)
    finding = verbs.add_parser("find")
    finding.add_argument("--data", type=Path, default=Path("../shared/data/nodules_luna"))
    finding.add_argument("--out", type=Path, required=True)
    finding.set_defaults(do=find)
    fitting = verbs.add_parser("fit")
    fitting.add_argument("--findings", type=Path, default=RESULTS / "operating_points_findings.csv")
    fitting.set_defaults(do=fit)
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()
