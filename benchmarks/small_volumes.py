"""Volume and diameters from a reference mask: spheres and ellipsoids as a scanner sees them.

Every case has another place between the voxels, another direction, kernel (soft or edge-enhancing), noise (15 to 45 HU
at 0.7 mm pixels), lung (-900 to -800 HU) and, if solid, another density (as 30 solid LIDC-IDRI nodules: 35 HU, SD 36).
Voxels are filled in proportion before blur and noise. The mask is the voxels whose centre lies in the nodule. Beside
free solid nodules: on a vessel of 2 mm, on the pleura, ground glass, calcified, part-solid; and outlines at half
contrast.

    python benchmarks/small_volumes.py

Prints and writes results/small_volumes.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from lungseg3d.analysis import measure_nodules
from lungseg3d.core import Nodule, Volume
from lungseg3d.data.phantom.scanner import blur, kernel_named, make_noise

RESULTS = Path(__file__).parent / "results"
PIXEL_MM, ROOM_MM = 0.7, 12.0
ROUND, LONG = (1.0, 1.0, 1.0), (1.0, 0.7, 0.8)


@dataclass(frozen=True)
class Kind:
    """One row of the tables.

    Attributes:
        slice_mm: thickness and distance of slices.
        diameter_mm: the longest.
        shape: the three diameters as shares of it.
        look: `free`, `vessel`, `pleura`, `ground glass`, `calcified`, `part-solid`.
        outline: `reference` or `half contrast`.
    """

    slice_mm: float
    diameter_mm: float
    shape: tuple[float, float, float] = ROUND
    look: str = "free"
    outline: str = "reference"


@dataclass(frozen=True)
class Outcome:
    """One measured case: the nodule as measured, and its true volume and mean axial diameter where it is known."""

    nodule: Nodule
    true_mm3: float
    pixel_mm: float
    axial_mm: float

    @property
    def error(self) -> float:
        return self.nodule.volume_mm3 / self.true_mm3 - 1

    @property
    def counted_error(self) -> float:
        return (self.nodule.volume.voxel_sum_mm3 or 0.0) / self.true_mm3 - 1

    @property
    def is_covered(self) -> bool:
        return (self.nodule.volume.low_mm3 or 0.0) <= self.true_mm3 <= (self.nodule.volume.high_mm3 or 0.0)

    @property
    def diameter_error_mm(self) -> float:
        return (self.nodule.diameters.mean_mm or 0.0) - self.axial_mm


def measured(kind: Kind, rng: np.random.Generator) -> Outcome | None:
    """One case; None where the mask has no voxel."""
    spacing = np.array([PIXEL_MM, PIXEL_MM, kind.slice_mm])
    semi = kind.diameter_mm / 2 * np.array(kind.shape)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    size = np.ceil((kind.diameter_mm + ROOM_MM) / spacing).astype(int)
    centre = (size - 1) / 2 + rng.uniform(-0.5, 0.5, 3)
    lung_hu, tissue_hu = rng.uniform(-900, -800), rng.normal(35, 36)
    own_hu = {"ground glass": rng.uniform(-650, -450), "calcified": rng.uniform(250, 600)}.get(kind.look, tissue_hu)
    fine = np.array([4, 4, max(4, round(kind.slice_mm / 0.2))])
    places = [
        ((np.arange(n * f) + 0.5) / f - 0.5 - c) * s for n, f, c, s in zip(size, fine, centre, spacing, strict=True)
    ]

    def distance(at: list[np.ndarray], radii: np.ndarray) -> np.ndarray:
        x, y, z = at[0][:, None, None], at[1][None, :, None], at[2][None, None, :]
        return sum(((u[0] * x + u[1] * y + u[2] * z) / r) ** 2 for u, r in zip(axes.T, radii, strict=True))

    def filled(inside: np.ndarray) -> np.ndarray:
        blocks = inside.reshape(size[0], fine[0], size[1], fine[1], size[2], fine[2])
        return blocks.mean((1, 3, 5)).astype(np.float32)

    share = filled(distance(places, semi) <= 1)
    hu = lung_hu + share * (own_hu - lung_hu)
    if kind.look == "part-solid":
        core = filled(distance(places, 0.5 * semi) <= 1)
        hu = lung_hu + share * (-560 - lung_hu) + core * (tissue_hu + 560)
    neighbour = _neighbour(kind.look, places, semi)
    if neighbour is not None:
        hu += np.clip(filled(neighbour), 0, 1 - share) * (30 - lung_hu)
    hu = np.ascontiguousarray(hu, np.float32)
    kernel, steps = kernel_named(str(rng.choice(["soft", "lung"]))), (PIXEL_MM, PIXEL_MM, kind.slice_mm)
    blur(hu, steps, kernel)
    hu += make_noise(hu.shape, steps, kernel, rng) * np.float32(rng.uniform(15, 45))
    centres = [(np.arange(n) - c) * s for n, c, s in zip(size, centre, spacing, strict=True)]
    mask = distance(centres, semi) <= 1
    if kind.outline == "half contrast":
        parts, _ = ndimage.label(ndimage.gaussian_filter(hu, (0.7, 0.7, 0)) > (lung_hu + own_hu) / 2)
        mask = parts == np.bincount(parts[share > 0.3], minlength=2)[1:].argmax() + 1
    if not mask.any():
        return None
    ct = Volume(np.clip(hu, -1024, 3071).astype(np.int16), np.diag([*spacing, 1.0]))
    nodule = measure_nodules(ct, ct.with_array(mask.astype(np.uint8)))[0]
    # The longest axial diameter of an ellipsoid lies in its middle slice: an ellipse with these axes.
    quadric = (axes @ np.diag(semi**-2.0) @ axes.T)[:2, :2]
    axial_mm = float(np.mean(2 / np.sqrt(np.linalg.eigvalsh(quadric))))
    return Outcome(nodule, float(4 / 3 * np.pi * semi.prod()), PIXEL_MM, axial_mm)


def _neighbour(look: str, places: list[np.ndarray], semi: np.ndarray) -> np.ndarray | None:
    x, y, z = places[0][:, None, None], places[1][None, :, None], places[2][None, None, :]
    if look == "vessel":
        return (x - semi.min() - 0.5) ** 2 + (0.9 * y + 0.43 * z) ** 2 <= 1 + 0 * z
    if look == "pleura":
        return x + 0 * y + 0 * z > semi.min() - 0.3
    return None


def outcomes(kind: Kind, cases: int) -> list[Outcome]:
    """The cases of one row; the same ones in every run."""
    rng = np.random.default_rng((7, int(10 * kind.slice_mm), int(10 * kind.diameter_mm), int(10 * sum(kind.shape))))
    found = (measured(kind, rng) for _ in range(cases))
    return [one for one in found if one is not None]


def row_of(kind: Kind, found: list[Outcome]) -> str:
    """One row."""
    errors, counted = (np.array([getattr(o, name) for o in found]) for name in ("error", "counted_error"))
    diameters = np.array([o.diameter_error_mm for o in found])
    by_hu = np.mean([o.nodule.volume.method != "voxels" for o in found])
    width = np.median([(o.nodule.volume.high_mm3 or 0.0) / o.nodule.volume_mm3 for o in found])
    cells = [
        f"{kind.slice_mm:g} mm",
        f"{kind.diameter_mm:g} mm",
        "round" if kind.shape == ROUND else "long",
        kind.look,
        f"{100 * np.mean(np.abs(counted) < 0.1):.0f} %",
        f"{100 * np.mean(np.abs(errors) < 0.1):.0f} %",
        f"{100 * errors.mean():+.1f}, {100 * errors.std():.1f}",
        f"{100 * np.mean([o.is_covered for o in found]):.0f} %",
        f"{width:.2f}",
        f"{100 * by_hu:.0f} %",
        f"{diameters.mean():+.2f}, {100 * np.mean(np.abs(diameters) <= max(0.5, PIXEL_MM)):.0f} %",
    ]
    return "| " + " | ".join(cells) + " |"


def kinds() -> Iterator[tuple[str, list[Kind]]]:
    """The tables and their rows."""
    free = [Kind(s, d, shape) for s in (1.0, 2.5) for d in (4, 5, 6, 8, 12, 20) for shape in (ROUND, LONG)]
    yield "Free solid nodules, reference mask", free
    others = [
        Kind(s, d, LONG, look)
        for look in ("vessel", "pleura", "ground glass", "calcified", "part-solid")
        for s, d in ((1.0, 5), (2.5, 5), (2.5, 8))
    ]
    yield "What HU tell less of, reference mask", others
    yield (
        "Free solid nodules, outlined at half contrast",
        [replace(k, outline="half contrast") for k in free if 4 < k.diameter_mm < 12],
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=60, help="of each row")
    arguments = parser.parse_args()
    heads = [
        "slices",
        "longest",
        "shape",
        "look",
        "within 10 %: voxels alone",
        "as measured",
        "error: mean, SD, %",
        "in its 95 % interval",
        "half width",
        "HU asked",
        "mean diameter: error mm, within a pixel",
    ]
    text = "# Volume and diameters from a reference mask\n\n"
    text += f"`python benchmarks/small_volumes.py`, {arguments.cases} cases a row; its beginning says what they are.\n"
    for title, rows in kinds():
        text += f"\n## {title}\n\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|\n"
        print(title, flush=True)
        for kind in rows:
            line = row_of(kind, outcomes(kind, arguments.cases if kind.diameter_mm < 12 else arguments.cases // 3))
            print(line, flush=True)
            text += line + "\n"
    (RESULTS / "small_volumes.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
