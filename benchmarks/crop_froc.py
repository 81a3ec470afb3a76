r"""FROC of a finder on the cubes of `nodules_luna`, each by weights that saw no nodule of its patient.

A peak within the nodule's radius finds it (the rule of LUNA16). Peaks on what readers marked otherwise (nodules of one
or two readers, small ones, non-nodules, reference nodules of another cube) count neither way; all others in lung are
false, those at a published detector's false alarms among them. `LITRES_A_SCAN` litres of lung count as a scan. Each
cube is cut to a smaller one at random; of 50 mm to 42 mm, as it is unless asked otherwise, that moves the nodule off
the middle by 4 mm at most along each axis, and not anywhere.

    python -m benchmarks.crop_froc mark --weights 'runs/finder-{fold}/model.pt' --data ../shared/data/nodules_luna \
        --out marks.csv                                   # resumable; --folds 0 1 for some of them
    python -m benchmarks.crop_froc score --marks marks.csv
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.special import logit

from benchmarks.operating_points import LITRES_A_SCAN, NEAR_MM, lung_of
from lungseg3d.inference import MirroredViews
from lungseg3d.inference.prediction.scales import reduce_resolution, restore_resolution
from lungseg3d.metrics import fit_confidence_map

FIELDS = (
    *("cube", "fold", "patient", "diameter_mm", "texture", "slice_mm", "noise_hu", "place", "lung_ml"),
    *("x", "y", "z", "probability", "outcome"),
)
LEAST = 0.1
APART_VOXELS = 5.0
POINT_MM = 4.0
"""A peak so near to a point that a reader marked means the same thing."""
NODULES_A_SCAN = 1.3
"""In screening; in the cubes there are about fifty for each 4.5 litres of lung."""
RESAMPLES = 1000
_REFINED_VOXELS = 2
_SOFT_HU = -400
_LEAST_WALL_VOXELS, _LEAST_ON_WALL_VOXELS, _LEAST_VESSEL_SHARE = 500, 8, 0.08
_LEFT_OUT = {"luna_nodule", "excluded_nodule", "small_nodule", "non_nodule"}


def cut_at_random(shape: tuple[int, ...], side: int, random: np.random.Generator) -> tuple[slice, ...]:
    """A part of `side` voxels along each axis, anywhere in an array of this shape; the whole of what is smaller."""
    starts = [int(random.integers(max(0, n - side) + 1)) for n in shape]
    return tuple(slice(start, start + min(side, n)) for start, n in zip(starts, shape, strict=True))


def place_of(hu: np.ndarray, nodule: np.ndarray, lung: np.ndarray) -> str:
    """Whether a nodule (bool, X, Y, Z) of a cube of 1 mm lies on the pleura, on a vessel, or free in the lung."""
    close = ndimage.binary_dilation(nodule, iterations=1)
    near = ndimage.binary_dilation(close, iterations=1)
    pieces, count = ndimage.label(~lung & ~nodule)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    wall = (pieces > 0) & (sizes[pieces] >= _LEAST_WALL_VOXELS)
    if int((wall & near).sum()) >= _LEAST_ON_WALL_VOXELS:
        return "pleura"
    shell = near & ~close
    return "vessel" if float((hu[shell] > _SOFT_HU).mean()) >= _LEAST_VESSEL_SHARE else "free"


def refine(probability: np.ndarray, voxel: tuple[int, int, int]) -> np.ndarray:
    """The middle between voxels of a peak: the mean place of what around it is at least half as high, (3,)."""
    start = np.maximum(np.array(voxel) - _REFINED_VOXELS, 0)
    part = probability[tuple(slice(a, v + _REFINED_VOXELS + 1) for a, v in zip(start, voxel, strict=True))]
    weight = np.where(part >= probability[voxel] / 2, part, 0)
    place: np.ndarray = start + np.array(ndimage.center_of_mass(weight))
    return place


def judge(
    row: dict[str, str], peaks: np.ndarray, marks: list[dict[str, str]], middle: np.ndarray, others: np.ndarray
) -> list[str]:
    """What each peak (N, 3), in voxels of the whole cube at 1 mm, is: true, left out, or false.

    `middle` is that of the nodule's outline: the cube's own is up to 2 mm off.
    """
    points = np.array([[float(mark[axis]) for axis in "xyz"] for mark in marks if mark["kind"] in _LEFT_OUT])
    reach = np.array([max(POINT_MM, float(m["diameter_mm"] or 0) / 2) for m in marks if m["kind"] in _LEFT_OUT])
    near_others = ndimage.binary_dilation(others, iterations=2)
    outcomes = []
    for peak in peaks:
        at = tuple(np.clip(np.rint(peak).astype(int), 0, np.array(others.shape) - 1))
        on_point = len(points) > 0 and bool((np.linalg.norm(points - peak, axis=1) <= reach).any())
        is_hit = np.linalg.norm(peak - middle) < float(row["diameter_mm"]) / 2
        outcomes.append("true" if is_hit else "left out" if near_others[at] or on_point else "false")
    return outcomes


def look(views: MirroredViews, image: torch.Tensor, scales: list[int]) -> np.ndarray:
    """The highest probability of an image (1, x, y, z) seen at several scales, (x, y, z): 2 halves its resolution."""
    found = np.zeros(image.shape[1:], np.float32)
    for scale in scales:
        seen = torch.from_numpy(views.mean(reduce_resolution(image[None], scale)[0]))[None, None]
        found = np.maximum(found, restore_resolution(seen, scale, image.shape[1:])[0, 0].numpy())
    return found


def mark(arguments: argparse.Namespace) -> None:
    """Look at every cube of the folds, and write its peaks."""
    from lungseg3d.inference.candidates.centres import find_peaks
    from lungseg3d.io import read_labels, read_volume
    from lungseg3d.networks import LightUNet3d
    from lungseg3d.transforms import estimate_noise_hu

    with (arguments.data / "nodules.csv").open(encoding="utf-8", newline="") as file:
        cubes = [row for row in csv.DictReader(file) if int(row["fold"]) in arguments.folds]
    with (arguments.data / "marks.csv").open(encoding="utf-8", newline="") as file:
        marks = list(csv.DictReader(file))
    done = {row["cube"] for row in _rows(arguments.out)} if arguments.out.is_file() else set()
    views: dict[str, MirroredViews] = {}
    with arguments.out.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if not done:
            writer.writeheader()
        for row in cubes:
            if row["id"] in done:
                continue
            if row["fold"] not in views:
                network = LightUNet3d(1, 2, arguments.channels).eval()
                path = Path(arguments.weights.format(fold=row["fold"]))
                network.load_state_dict(torch.load(path, weights_only=True))
                views[row["fold"]] = MirroredViews(network, flips=arguments.flips)
            hu = read_volume(arguments.data / "images" / f"{row['id']}.nii.gz").array
            other_path = arguments.data / "others" / f"{row['id']}.nii.gz"
            others = read_labels(other_path).array > 0 if other_path.is_file() else np.zeros(hu.shape, bool)
            part = cut_at_random(hu.shape, arguments.cut, np.random.default_rng(int(row["id"].rpartition("-")[2])))
            image = np.clip((hu[part].astype(np.float32) + 1000) / 1400, 0, 1)
            found = look(views[row["fold"]], torch.from_numpy(np.ascontiguousarray(image))[None], arguments.scales)
            label = read_labels(arguments.data / "labels" / f"{row['id']}.nii.gz").array > 0
            lung = lung_of(hu)
            # What a closing does not fill, the inside of a large nodule, belongs to the lung as well.
            near_lung = ndimage.distance_transform_edt(~(lung | label | others)) <= NEAR_MM
            corner = np.array([side.start for side in part])
            peaks = [p for p in find_peaks(found, LEAST, APART_VOXELS) if near_lung[part][p.voxel]]
            places = np.array([refine(found, p.voxel) for p in peaks]).reshape(-1, 3) + corner
            middle = np.array(ndimage.center_of_mass(label))
            outcomes = judge(row, places, [m for m in marks if m["id"] == row["id"]], middle, others)
            common = {key: row[key] for key in ("fold", "patient", "diameter_mm", "texture")}
            common |= {"cube": row["id"], "slice_mm": row["slice_spacing_mm"]}
            common |= {"lung_ml": round(float(lung[part].sum()) / 1000, 2), "noise_hu": round(estimate_noise_hu(hu), 1)}
            common |= {"place": place_of(hu, label, lung)}
            is_inside = bool((middle >= corner).all() and (middle < corner + image.shape).all())
            writer.writerow(common | {"outcome": "cube" if is_inside else "lung"})
            for peak, place, outcome in zip(peaks, places, outcomes, strict=True):
                at = dict(zip("xyz", place.round(1).tolist(), strict=True))
                writer.writerow(common | at | {"probability": round(peak.probability, 5), "outcome": outcome})
            file.flush()


@dataclass(frozen=True)
class CubeMarks:
    """What was seen in the cubes.

    Attributes:
        best: probability of the best peak on the nodule of each cube, (C,); 0 where there is none.
        has_nodule: whether its middle lies in the part that was looked at, (C,).
        diameter_mm, texture, slice_mm, noise_hu, place: facts of the nodule and its cube, (C,).
        litres: of lung in the part, (C,).
        patient: name of each cube's patient, (C,).
        fold: of each cube, (C,).
        false: probabilities of the false peaks, (F,), and `cube`, the index of the cube of each, (F,).
    """

    best: np.ndarray
    has_nodule: np.ndarray
    diameter_mm: np.ndarray
    texture: np.ndarray
    slice_mm: np.ndarray
    noise_hu: np.ndarray
    place: np.ndarray
    litres: np.ndarray
    patient: np.ndarray
    fold: np.ndarray
    false: np.ndarray
    cube: np.ndarray

    def sensitivity(self, rate: float, chosen: np.ndarray, cubes: np.ndarray) -> tuple[float, int, float]:
        """Share of chosen nodules found at so many false peaks a scan, the false peaks that it rests on, the threshold.

        `cubes` (N,) are indices of cubes, one that is named twice counts twice; the threshold is set on all of them.
        """
        weight = np.bincount(cubes, minlength=len(self.best))
        most = rate * float(self.litres @ weight) / LITRES_A_SCAN
        order = np.argsort(-self.false, kind="stable")
        counted = np.cumsum(weight[self.cube[order]])
        allowed = int(np.searchsorted(counted, most, side="right"))
        threshold = float(self.false[order[allowed]]) if allowed < len(order) else 0.0
        asked = weight * (self.has_nodule & chosen)
        found = float(asked @ ((self.best > threshold) & (self.best > 0)))
        return found / max(1, asked.sum()), int(counted[allowed - 1]) if allowed else 0, threshold

    def interval(self, rate: float, chosen: np.ndarray) -> tuple[float, float]:
        """95 % interval of the sensitivity, by a bootstrap over patients."""
        names, whose = np.unique(self.patient, return_inverse=True)
        of_patient = [np.flatnonzero(whose == number) for number in range(len(names))]
        random = np.random.default_rng(0)
        drawn = []
        for _ in range(RESAMPLES):
            cubes = np.concatenate([of_patient[i] for i in random.integers(0, len(names), len(names))])
            drawn.append(self.sensitivity(rate, chosen, cubes)[0])
        low, high = np.percentile(drawn, [2.5, 97.5])
        return float(low), float(high)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


_NUMBERS = ("diameter_mm", "texture", "slice_mm", "noise_hu")


def read_cube_marks(path: Path, folds: list[int]) -> CubeMarks:
    """The peaks that `mark` wrote."""
    rows = [row for row in _rows(path) if int(row["fold"]) in folds]
    cubes = [row for row in rows if row["outcome"] in ("cube", "lung")]
    index = {row["cube"]: number for number, row in enumerate(cubes)}
    best = np.zeros(len(cubes))
    for row in rows:
        if row["outcome"] == "true":
            best[index[row["cube"]]] = max(best[index[row["cube"]]], float(row["probability"]))
    false = [row for row in rows if row["outcome"] == "false"]
    return CubeMarks(
        best,
        np.array([row["outcome"] == "cube" for row in cubes]),
        *(np.array([float(row[key] or "nan") for row in cubes]) for key in _NUMBERS),
        np.array([row["place"] for row in cubes]),
        np.array([float(row["lung_ml"]) for row in cubes]) / 1000,
        np.array([row["patient"] for row in cubes]),
        np.array([int(row["fold"]) for row in cubes]),
        np.array([float(row["probability"]) for row in false]),
        np.array([index[row["cube"]] for row in false], int),
    )


STRATA: dict[str, Callable[[CubeMarks], np.ndarray]] = {
    "3 mm and more": lambda marks: marks.diameter_mm >= 3,
    "6 mm and more": lambda marks: marks.diameter_mm >= 6,
    "3 to 4 mm": lambda marks: (marks.diameter_mm >= 3) & (marks.diameter_mm < 4),
    "4 to 6 mm": lambda marks: (marks.diameter_mm >= 4) & (marks.diameter_mm < 6),
    "6 to 10 mm": lambda marks: (marks.diameter_mm >= 6) & (marks.diameter_mm < 10),
    "10 to 20 mm": lambda marks: (marks.diameter_mm >= 10) & (marks.diameter_mm < 20),
    "20 mm and more": lambda marks: marks.diameter_mm >= 20,
    "not solid (texture below 4.5)": lambda marks: marks.texture < 4.5,
    "part-solid (2.5 to 3.5)": lambda marks: (marks.texture >= 2.5) & (marks.texture < 3.5),
    "ground glass (below 2.5)": lambda marks: marks.texture < 2.5,
    "slices up to 1.25 mm": lambda marks: marks.slice_mm <= 1.25,
    "slices of 1.25 to 2.5 mm": lambda marks: (marks.slice_mm > 1.25) & (marks.slice_mm <= 2.5),
    "slices above 2.5 mm": lambda marks: marks.slice_mm > 2.5,
    "noise below 30 HU": lambda marks: marks.noise_hu < 30,
    "noise of 30 to 60 HU": lambda marks: (marks.noise_hu >= 30) & (marks.noise_hu < 60),
    "noise of 60 HU and more": lambda marks: marks.noise_hu >= 60,
    "free in the lung": lambda marks: marks.place == "free",
    "on a vessel": lambda marks: marks.place == "vessel",
    "on the pleura": lambda marks: marks.place == "pleura",
}


def table(marks: CubeMarks, rates: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)) -> str:
    """Markdown: sensitivity of each stratum at false findings a scan, with intervals."""
    litres = marks.litres.sum()
    lines = [
        f"{int(marks.has_nodule.sum())} nodules of {len(np.unique(marks.patient))} patients, {litres:.1f} l of lung "
        f"({litres / LITRES_A_SCAN:.1f} scans). False peaks behind each point: "
        + ", ".join(f"{marks.sensitivity(r, marks.has_nodule, np.arange(len(marks.best)))[1]} at {r:g}" for r in rates),
        "",
        "| nodules | n | " + " | ".join(f"at {rate:g}" for rate in rates) + " |",
        "|---|---|" + "---|" * len(rates),
    ]
    every = np.arange(len(marks.best))
    for name, choose in STRATA.items():
        chosen = choose(marks)
        cells = []
        for rate in rates:
            low, high = marks.interval(rate, chosen)
            cells.append(f"{marks.sensitivity(rate, chosen, every)[0]:.3f} ({low:.3f} to {high:.3f})")
        lines.append(f"| {name} | {int((chosen & marks.has_nodule).sum())} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class CalibrationCheck:
    """How far held-out confidences can be believed, of findings at a threshold, where nodules are as rare as in scans.

    Attributes:
        slope: of a logistic regression of what was true on the logit of the confidence; 1 is right.
        brier_skill: 1 less the Brier score over that of one confidence for all, with its 95 % interval over patients.
        bins: mean confidence, share of true findings and number in bins of as many findings each.
    """

    slope: float
    brier_skill: tuple[float, float, float]
    bins: list[tuple[float, float, int]]


def check_calibration(marks: CubeMarks, rate: float = 4.0, nodules_a_scan: float = NODULES_A_SCAN) -> CalibrationCheck:
    """Maps fitted on all other folds, shifted to so many nodules a scan, on the findings of each fold.

    A true finding weighs as much less as nodules are rarer in scans than in cubes.
    """
    _, _, threshold = marks.sensitivity(rate, marks.has_nodule, np.arange(len(marks.best)))
    found = marks.best > threshold
    sure = np.concatenate([marks.best[found], marks.false[marks.false > threshold]])
    true = np.arange(len(sure)) < found.sum()
    cube = np.concatenate([np.flatnonzero(found), marks.cube[marks.false > threshold]])
    times = nodules_a_scan / (marks.has_nodule.sum() / (marks.litres.sum() / LITRES_A_SCAN))
    said = np.empty(len(sure))
    for fold in np.unique(marks.fold):
        held = marks.fold[cube] == fold
        said[held] = fit_confidence_map(sure[~held], true[~held]).where_true_ones_are(times)(sure[held])
    weight = np.where(true, times, 1.0)
    names, whose = np.unique(marks.patient[cube], return_inverse=True)
    of_patient = [np.flatnonzero(whose == number) for number in range(len(names))]
    random = np.random.default_rng(0)
    drawn = [
        _brier_skill(said[one], true[one], weight[one])
        for one in (
            np.concatenate([of_patient[i] for i in random.integers(0, len(names), len(names))])
            for _ in range(RESAMPLES)
        )
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    order = np.array_split(np.argsort(said, kind="stable"), 5)
    bins = [(_mean(said[i], weight[i]), _mean(true[i], weight[i]), len(i)) for i in order]
    return CalibrationCheck(_slope(said, true, weight), (_brier_skill(said, true, weight), low, high), bins)


def _mean(values: np.ndarray, weight: np.ndarray) -> float:
    return float((values * weight).sum() / weight.sum())


def _brier_skill(said: np.ndarray, true: np.ndarray, weight: np.ndarray) -> float:
    one_for_all = _mean((true - _mean(true, weight)) ** 2, weight)
    return 1 - _mean((true - said) ** 2, weight) / one_for_all


def _slope(said: np.ndarray, true: np.ndarray, weight: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression

    scores = logit(np.clip(said, 1e-6, 1 - 1e-6))[:, None]
    return float(LogisticRegression(C=1e6).fit(scores, true, sample_weight=weight).coef_[0, 0])


def calibration_text(check: CalibrationCheck) -> str:
    """Markdown of a check."""
    value, low, high = check.brier_skill
    lines = [
        f"Calibration of held-out findings at 4 false ones a scan, at {NODULES_A_SCAN:g} nodules a scan: slope "
        f"{check.slope:.2f}, Brier skill {value:.2f} ({low:.2f} to {high:.2f}).",
        "",
        "| mean confidence | share of true findings | findings |",
        "|---|---|---|",
        *(f"| {sure:.3f} | {share:.3f} | {count} |" for sure, share, count in check.bins),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    marking = verbs.add_parser("mark")
    marking.add_argument("--weights", required=True, help="path with {fold} in it")
    marking.add_argument("--data", type=Path, default=Path("../shared/data/nodules_luna"))
    marking.add_argument("--out", type=Path, required=True)
    marking.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128])
    marking.add_argument("--flips", type=int, nargs="*", default=[0, 1], help="axes of mirrored views")
    marking.add_argument("--scales", type=int, nargs="+", default=[1, 2], help="2 halves the resolution")
    marking.add_argument("--cut", type=int, default=42, help="side of the part that is looked at, in mm")
    scoring = verbs.add_parser("score")
    scoring.add_argument("--marks", type=Path, required=True)
    for verb in (marking, scoring):
        verb.add_argument("--folds", type=int, nargs="*", default=list(range(5)))
    arguments = parser.parse_args()
    if arguments.verb == "mark":
        mark(arguments)
    else:
        marks = read_cube_marks(arguments.marks, arguments.folds)
        print(table(marks))
        if len(np.unique(marks.fold)) > 1:
            print(calibration_text(check_calibration(marks)))


if __name__ == "__main__":
    main()
