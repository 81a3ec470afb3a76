"""How many nodules the anatomical rule takes out of the list, and how many findings that are none.

Four counts, each with its n and the interval of Clopper and Pearson:

- synthetic nodules (solid, part-solid, ground glass; 5 to 22 mm) planted on the pleura, the diaphragm, the mediastinal
  surface at the height of the hilum, and (phantoms) on a fissure, in phantoms and real CTs with the lungs of the
  shipped bundle; each once with the lungs outlined before the nodule was planted, once with it cut out of them;
- readers' outlines of `nodules_luna` that touch the border of lung; the cubes show one lung, so its side decides what
  counts as mediastinum: once nothing, once (the worst case) all tissue outside the lung;
- balls of 12 to 24 mm centred behind the surface of the lungs in mediastinum or vertebra, chest wall and below the
  diaphragm;
- balls on the axes of the phantoms' hilar vessels.

An outline is the planted nodule grown by 1.5 mm, as the outlines of the shipped weights are.

    python -m benchmarks.anatomy_rule --data ../shared/data
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from lungseg3d.analysis import NoduleMap, anatomy_reasons
from lungseg3d.analysis.morphology import closed, dilated
from lungseg3d.core import Box, Grid, Volume
from lungseg3d.core.labels import LEFT_LUNG, RIGHT_LUNG
from lungseg3d.core.stopwatch import Stopwatch
from lungseg3d.data import NoduleSpec, PhantomSpec, Texture, make_phantom, nodule_box, nodule_hu
from lungseg3d.data.phantom.anatomy import Anatomy
from lungseg3d.data.phantom.shapes import Places
from lungseg3d.inference import SegmentLungsd
from lungseg3d.io import open_ct, read_labels, read_volume, shipped_bundle
from lungseg3d.metrics import proportion_interval
from lungseg3d.tensors import to_meta_tensor, to_volume
from lungseg3d.workflows.segment.models import Models, open_models
from lungseg3d.workflows.segment.networks import run_networks
from lungseg3d.workflows.segment.options import SegmentOptions

RESULTS = Path(__file__).parent / "results"
CTS = {
    "lidc-0002": "ct/lidc-0002/ct.nii.gz",
    "ricord-000082": "ct/ricord-000082/dicom",
    "lung1-001": "ct/lung1-001/ct.nii.gz",
    "c3n-00247": "ct/c3n-00247/ct.nii.gz",
    "4dlung-113": "ct/4dlung-113/dicom",
    "lungdx-A0001": "ct/lungdx-A0001/dicom/lung-kernel",
}
OUTLINE_MM = 1.5
TEXTURES: tuple[Texture, ...] = ("solid", "part-solid", "ground-glass")
SURFACES = ("pleura", "diaphragm", "hilum")
GROUPS = {
    "Planted nodules: none should be made a candidate": ("planted", "planted, cut out of the lungs"),
    "Readers' nodules at the border of lung: none should be": ("read", "read, cut out of the lungs"),
    "Balls where no nodule can be: all should be": ("none",),
}
LIMITS = """## Limits

The thresholds were chosen on the findings of the shipped weights in the six real CTs above and in the demo's phantom,
and on the readers' nodules; no further CT confirms them yet. Without the rule none of these is made a candidate.
Planted nodules replace what lay there: one that is put onto a hilar vessel as wide as itself is a piece of that vessel
to the rule, as it is to a reader; so nodules of 11 mm and more at the hilum are where the rule costs most.
Counted here is what the rule says of a mask alone. In a result, a vessel of the hilum speaks against a finding only
where its calibrated confidence is below 0.5. With `--networks`, the shipped networks on the nine CTs of the planted
nodules above that are made candidates: five are listed, two lie below the operating point by their confidence, one is
not found, and one is made a candidate by the rule: 1 of 598 planted nodules, 1 of 168 at the hilum (0.000 to 0.033).
What is made a candidate keeps its mask and its row. Nodules of one CT are not independent, so the intervals are
somewhat too narrow. The worst case of the readers' nodules takes chest wall and diaphragm for mediastinum, where the
rule is strictest.
"""
HILAR_VESSELS = ("right pulmonary", "left pulmonary", "right veins", "left veins")


@dataclass(frozen=True)
class Host:
    """A CT with the network's lungs, both in RAS order; `seed` of a phantom, None of a real CT."""

    name: str
    ct: Volume
    lungs: Volume
    seed: int | None = None


@dataclass(frozen=True)
class Trial:
    """What was asked of the rule, and its answer."""

    kind: str
    place: str
    texture: str
    reason: str


def hosts(phantoms: int, data: Path) -> Iterator[Host]:
    """Phantoms without nodules, then the real CTs."""
    lungs_of = SegmentLungsd(keys="image", bundle_root=str(shipped_bundle("lung_ct_segmentation")))
    for seed in range(phantoms):
        slice_mm = (1.5, 2.0, 3.0, 5.0)[seed % 4]
        spec = PhantomSpec(
            seed, (256, 256, round(330 / slice_mm)), (1.4, 1.4, slice_mm), nodules=(), noise_hu=15.0 + 5 * (seed % 3)
        )
        ct = make_phantom(spec).ct
        yield host(f"phantom-{seed}", ct, to_volume(lungs_of({"image": to_meta_tensor(ct)})["lungs"]), seed)
    for name, path in CTS.items():
        ct = open_ct(data / path).volume
        yield host(name, ct, to_volume(lungs_of({"image": to_meta_tensor(ct)})["lungs"]))


def host(name: str, ct: Volume, lungs: Volume, seed: int | None = None) -> Host:
    """A CT in RAS order, cut to its lungs and 40 mm around them, which is as far as the rule looks."""
    ct, lungs = ct.as_ras(), lungs.as_ras()
    box = (Box.around(lungs.array) or Box.whole(ct.shape)).grown([round(40 / s) for s in ct.spacing_mm], ct.shape)
    ct, lungs = (part.with_array(np.ascontiguousarray(part.array)) for part in (ct.crop(box), lungs.crop(box)))
    return Host(name, ct, lungs, seed)


class Surface:
    """The lungs' surface: voxels of the lung on it, what each lies on, and the direction out of the lung."""

    def __init__(self, lungs: Volume) -> None:
        lung = lungs.array > 0
        self.voxels = np.argwhere(lung & ~ndimage.binary_erosion(lung))
        soft = ndimage.gaussian_filter(lung.astype(np.float32), [4 / s for s in lungs.spacing_mm])
        slopes = np.stack([np.gradient(soft, s, axis=a) for a, s in enumerate(lungs.spacing_mm)], axis=-1)
        out = -slopes[tuple(self.voxels.T)]
        self.out = out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
        x, y, z = self.voxels.T
        right = np.maximum.accumulate((lungs.array == RIGHT_LUNG.value)[::-1], axis=0)[::-1]
        left = np.maximum.accumulate(lungs.array == LEFT_LUNG.value, axis=0)
        behind = np.clip(
            np.rint(self.voxels + 3 * self.out / lungs.spacing_mm).astype(int), 0, np.array(lung.shape) - 1
        )
        bx, by, bz = behind.T
        is_between = right[bx, by, bz] & left[bx, by, bz] & ~lung[bx, by, bz]
        below = np.cumsum(lung, axis=2)[x, y, z] == 1
        height = (z - z.min()) / max(z.max() - z.min(), 1)
        diaphragm = (self.out[:, 2] < -0.7) & below
        self.places = {
            "pleura": ~is_between & (np.abs(self.out[:, 2]) < 0.5),
            "diaphragm": diaphragm,
            "mediastinum": is_between & ~diaphragm & (np.abs(self.out[:, 0]) > 0.5),
        }
        self.places["hilum"] = self.places["mediastinum"] & (height > 0.35) & (height < 0.65)

    def pick(self, place: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        """A voxel of a kind of surface and the direction out of the lung in mm; None where the CT shows none."""
        at = np.flatnonzero(self.places[place])
        if not at.size:
            return None
        i = int(rng.choice(at))
        return self.voxels[i], self.out[i]


def plant(host: Host, spec: NoduleSpec, centre: np.ndarray) -> tuple[Volume, np.ndarray] | None:
    """The CT with a nodule (centre in RAS mm) in what is lung there, and its mask; None where little of it is."""
    box = nodule_box(spec, host.ct.grid, centre)
    if box is None:
        return None
    part = host.ct.crop(box)
    occupancy, hu = nodule_hu(spec, part.grid, centre)
    occupancy = np.where((host.lungs.array[box.slices] > 0) | (part.array < -400), occupancy, 0)
    mask = np.zeros(host.ct.shape, bool)
    mask[box.slices] = occupancy >= 0.5
    if mask[box.slices].sum() * part.voxel_volume_mm3 < 0.4 * np.pi / 6 * spec.diameter_mm**3:
        return None
    mixed = np.rint(part.array * (1 - occupancy) + hu * occupancy).astype(host.ct.array.dtype)
    return host.ct.pasted(part.with_array(mixed), box), mask


def reason(ct: Volume, lungs: Volume, mask: np.ndarray) -> str:
    """The rule's answer to one finding."""
    return anatomy_reasons(ct, lungs, NoduleMap(Volume(mask.astype(np.uint16), ct.affine), (1.0,)))[0]


def planted(
    host: Host, surface: Surface, count: int, rng: np.random.Generator, models: Models | None = None
) -> Iterator[Trial]:
    """Nodules on every kind of surface, with the lungs as they are and with the nodule cut out of them."""
    places = (*SURFACES, "fissure") if host.seed is not None else SURFACES
    for place in [place for place in places for _ in range(count)]:
        texture = TEXTURES[int(rng.integers(3))]
        diameter_mm = float(np.exp(rng.uniform(np.log(5), np.log(22))))
        centre = _on_fissure(host, rng) if place == "fissure" else None
        if centre is None and (picked := surface.pick(place, rng)) is not None:
            voxel, out = picked
            centre = host.ct.grid.to_world(voxel) - out * diameter_mm / 2 * rng.uniform(0.1, 0.9)
        spec = NoduleSpec(diameter_mm, texture, "round", seed=int(rng.integers(2**31)))
        made = plant(host, spec, centre) if centre is not None else None
        if made is None:
            continue
        ct, mask = made
        outline = dilated(mask, OUTLINE_MM, ct.spacing_mm)
        cut = np.where(outline, 0, host.lungs.array).astype(np.uint8)
        yield (trial := Trial("planted", place, texture, reason(ct, host.lungs, outline)))
        if trial.reason and models is not None:
            print(f"{host.name}, {place}: {trial.reason} by its mask; in the product: {outcome(ct, outline, models)}")
        yield Trial("planted, cut out of the lungs", place, texture, reason(ct, host.lungs.with_array(cut), outline))


def outcome(ct: Volume, mask: np.ndarray, models: Models) -> str:
    """What becomes of a planted nodule in the product: `listed`, the reason why it is a candidate, or `not found`."""
    listing = run_networks(ct, models, Stopwatch(), SegmentOptions()).listing
    values = np.bincount(listing.finding_map().array[mask])
    if values[1:].sum() == 0:
        return "not found"
    return listing.reason_of.get(1 + int(values[1:].argmax()), "listed")


def _on_fissure(host: Host, rng: np.random.Generator) -> np.ndarray | None:
    """A place on the oblique fissure of a phantom, RAS mm."""
    voxels = np.argwhere(host.lungs.array > 0)
    places = host.lungs.grid.to_world(voxels[rng.integers(len(voxels), size=4000)])
    anatomy = Anatomy(host.seed or 0)
    sides = np.sign(places[:, 0])
    near = np.zeros(len(places), bool)
    for side in (-1, 1):
        oblique, _ = anatomy.fissures(Places.of_points(places), side)
        near |= (sides == side) & (np.abs(oblique) < 1)
    return places[near][0] if near.any() else None


def balls(host: Host, surface: Surface, count: int, rng: np.random.Generator) -> Iterator[Trial]:
    """Findings that are none: balls behind the lungs' surface, and on the axes of a phantom's hilar vessels."""
    for place in [p for p in ("mediastinum", "pleura", "diaphragm") for _ in range(count)]:
        if (picked := surface.pick(place, rng)) is not None:
            radius_mm = float(rng.uniform(6, 12))
            centre = host.ct.grid.to_world(picked[0]) + picked[1] * radius_mm * rng.uniform(0.3, 0.7)
            names = {"mediastinum": "mediastinum, vertebra", "pleura": "chest wall", "diaphragm": "below the diaphragm"}
            yield Trial("none", names[place], "", reason(host.ct, host.lungs, _ball(host.ct.grid, centre, radius_mm)))
    if host.seed is not None:
        vessels = Anatomy(host.seed).great_vessels
        for name in HILAR_VESSELS:
            tube = vessels[name][-2]
            centre = (np.array(tube.start_mm) + np.array(tube.end_mm)) / 2
            ball = _ball(host.ct.grid, centre, 1.4 * tube.start_radius_mm)
            yield Trial("none", "hilar vessel", "", reason(host.ct, host.lungs, ball))


def _ball(grid: Grid, centre: np.ndarray, radius_mm: float) -> np.ndarray:
    mask = np.zeros(grid.shape, bool)
    voxel = np.rint(grid.to_voxel(centre)).astype(int)
    seed = np.clip(voxel, 0, np.array(grid.shape) - 1)
    mask[tuple(seed)] = True
    return dilated(mask, radius_mm, grid.spacing_mm)


def read_nodules(data: Path, every: int) -> Iterator[Trial]:
    """Readers' nodules that touch the border of lung, in cubes that are widened by lung on both sides."""
    folder = data / "nodules_luna"
    with (folder / "nodules.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::every]
    for row in rows:
        ct = read_volume(folder / "images" / f"{row['id']}.nii.gz").as_ras()
        mask = read_labels(folder / "labels" / f"{row['id']}.nii.gz").as_ras().array > 0
        air = _large_pieces(ct.array < -400)
        lung = closed(air, 6.0, ct.spacing_mm)
        if not mask.any() or not lung.any() or (dilated(~lung, 2.0, ct.spacing_mm) & mask).sum() <= 0.05 * mask.sum():
            continue
        outline = dilated(mask, OUTLINE_MM, ct.spacing_mm)
        texture = "solid" if float(row["texture"]) > 4 else "not solid"
        for kind, part in (("read", lung), ("read, cut out of the lungs", air & ~outline)):
            lungs = ct.with_array(np.where(part, RIGHT_LUNG.value, 0).astype(np.uint8))
            yield Trial(kind, "as they lie", texture, reason(ct, lungs, outline))
            yield Trial(kind, "worst case", texture, reason(*_between_lungs(ct, lungs, outline)))


def _large_pieces(mask: np.ndarray) -> np.ndarray:
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return (sizes >= max(300, 0.03 * sizes.max()))[pieces]


def _between_lungs(ct: Volume, lungs: Volume, mask: np.ndarray) -> tuple[Volume, Volume, np.ndarray]:
    """The cube with 12 mm of left and right lung beside it and lung below it: all else is mediastinum to the rule."""
    width = [(12, 12), (0, 0), (12, 0)]
    labels = np.pad(lungs.array, width, constant_values=RIGHT_LUNG.value)
    labels[:12] = LEFT_LUNG.value
    hu = np.pad(ct.array, width, constant_values=-850)
    return Volume(hu, ct.affine), Volume(labels, ct.affine), np.pad(mask, width)


def table(trials: list[Trial], keys: tuple[str, ...]) -> list[str]:
    """Markdown: of each group, how many were taken out of the list."""
    lines = [
        "| " + " | ".join(keys) + " | n | made a candidate | share | 95 % interval |",
        "|---" * (len(keys) + 4) + "|",
    ]
    groups = sorted({tuple(getattr(trial, key) for key in keys) for trial in trials})
    for group in groups:
        answers = [t.reason for t in trials if tuple(getattr(t, key) for key in keys) == group]
        hits = sum(map(bool, answers))
        share = proportion_interval(hits, len(answers))
        interval = f"{share.low:.3f} to {share.high:.3f}"
        lines.append(f"| {' | '.join(group)} | {len(answers)} | {hits} | {share.mean:.3f} | {interval} |")
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--phantoms", type=int, default=8)
    parser.add_argument("--count", type=int, default=12, help="nodules, and balls, of each kind in each CT")
    parser.add_argument("--networks", action="store_true", help="run the networks on what the rule takes out by masks")
    parser.add_argument("--every", type=int, default=1, help="take every so-manieth of the readers' nodules")
    asked = parser.parse_args()
    models = open_models(SegmentOptions()) if asked.networks else None
    trials: list[Trial] = []
    for host in hosts(asked.phantoms, asked.data):
        rng = np.random.default_rng((7, len(trials)))
        surface = Surface(host.lungs)
        trials += [*planted(host, surface, asked.count, rng, models), *balls(host, surface, asked.count, rng)]
        print(host.name, len(trials), flush=True)
    trials += read_nodules(asked.data, asked.every)
    text = page(trials)
    print(text)
    if asked.every == 1:
        (RESULTS / "anatomy_rule.md").write_text(text, encoding="utf-8")


def page(trials: list[Trial]) -> str:
    """The result file."""
    lines = ["# The anatomical rule: nodules taken out of the list, and findings that are none", ""]
    for title, kinds in GROUPS.items():
        group = [trial for trial in trials if trial.kind in kinds]
        lines += [f"## {title}", "", *table(group, ("kind", "place")), ""]
        if any(trial.texture for trial in group):
            lines += [*table(group, ("kind", "texture")), ""]
    return "\n".join([*lines, LIMITS])


if __name__ == "__main__":
    main()
