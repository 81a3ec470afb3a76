"""What the checks after segmentation say: healthy phantoms, painted disease, turned images, real CTs.

Each image goes through the lung bundle and the checks as `segment` runs them; nodules are left out, so that every mass
counts as missed. Painted are tumours of 30 to 70 mm and consolidations of `lungseg3d.engines` into phantoms.

    python -m benchmarks.lung_warnings --data ../shared/data
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np
import torch

from lungseg3d.analysis import LungDisease, check_disease, find_orientation, measure_disease
from lungseg3d.core import Volume
from lungseg3d.core.labels import LEFT_LUNG, NODULE, RIGHT_LUNG
from lungseg3d.data import PhantomSpec, make_phantom
from lungseg3d.engines import Consolidation, LargeTumour
from lungseg3d.engines.disease.base import DiseasePainter
from lungseg3d.inference import SegmentLungsd
from lungseg3d.io import open_ct, shipped_bundle
from lungseg3d.tensors import orthogonalise, resample, to_meta_tensor, to_volume
from lungseg3d.workflows.segment.checks import QUALITY_SPACING_MM

RESULTS = Path(__file__).parent / "results"
CTS = {
    "lung1-001": "ct/lung1-001/ct.nii.gz",
    "ricord-000082": "ct/ricord-000082/dicom",
    "4dlung-113": "ct/4dlung-113/dicom",
    "lungdx-A0001": "ct/lungdx-A0001/dicom",
    "lidc-0002": "ct/lidc-0002/ct.nii.gz",
    "c3n-00247": "ct/c3n-00247/ct.nii.gz",
    "cip-64": "cip-64/ct-64.nrrd",
}
_VOXEL_MM = 2.5


@dataclass(frozen=True)
class Judged:
    """What was said of one image, and how many of the 47 turned copies of it were named."""

    kind: str
    name: str
    codes: tuple[str, ...]
    disease: LungDisease
    states: tuple[str, str, str]
    turned: int | None = None


def healthy(count: int) -> Iterator[tuple[str, Volume]]:
    """Phantoms of several persons, kernels, doses and slice thicknesses, with a few nodules each."""
    for seed in range(count):
        slice_mm = (1.25, 2.0, 2.5, 3.0, 5.0)[seed % 5]
        spec = PhantomSpec(
            seed=seed,
            shape=(185, 150, int(330 / slice_mm)),
            spacing_mm=(2.0, 2.0, slice_mm),
            nodule_count=seed % 9,
            kernel=("soft", "lung")[seed % 2],
            noise_hu=(5.0, 20.0, 40.0)[seed % 3],
            table=seed % 3 != 0,
            arms=seed % 4 == 0,
        )
        yield f"seed {seed}, {slice_mm:g} mm", make_phantom(spec).ct


def painted(kind: type[DiseasePainter], count: int, **how: object) -> Iterator[tuple[str, Volume]]:
    """Phantoms with one disease."""
    for seed in range(count):
        phantom = make_phantom(
            PhantomSpec(seed=100 + seed, shape=(150, 124, 132), spacing_mm=(_VOXEL_MM,) * 3, nodule_count=0)
        )
        label = torch.from_numpy(phantom.labels.array.astype(np.uint8))[None, None]
        hu = torch.from_numpy(phantom.ct.array.astype(np.float32))[None, None]
        painter = kind(1.0, voxel_mm=_VOXEL_MM, **how)  # type: ignore[arg-type]
        ill, _ = painter(hu, label, [""], [np.random.default_rng((seed, 7))])
        array = ill[0, 0].round().clamp(-1024, 3071).numpy().astype(np.int16)
        volume_ml = float(((ill - hu).abs() > 100).sum()) * _VOXEL_MM**3 / 1000
        yield f"{kind.__name__} {seed}, {volume_ml:.0f} ml", phantom.ct.with_array(array)


def judge(kind: str, name: str, ct: Volume, lungs: SegmentLungsd, turn: bool = False) -> Judged:
    """Lungs by the network, then the checks."""
    found = to_volume(lungs({"image": to_meta_tensor(ct)})["lungs"])
    coarse = resample(orthogonalise(ct), QUALITY_SPACING_MM)
    labels = resample(orthogonalise(found, order=0, fill=0), QUALITY_SPACING_MM, labels=True)
    assert set(np.unique(labels.array)) <= {0, RIGHT_LUNG.value, LEFT_LUNG.value, NODULE.value}
    disease = measure_disease(coarse, labels, labels.with_array(np.zeros_like(labels.array)))
    lies = find_orientation(coarse)
    codes = [issue.code for issue in check_disease(disease)] + ["W_ANATOMY_ORIENTATION"] * bool(lies.reasons)
    states = (lies.left_right, lies.front_back, lies.head_feet)
    return Judged(kind, name, tuple(codes), disease, states, _turned(coarse.as_ras()) if turn else None)


def _turned(ct: Volume) -> int:
    """How many of the 47 wrong ways to turn an image are named."""
    count = 0
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            if (order, signs) != ((0, 1, 2), (1, 1, 1)):
                array = ct.array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
                spacing_mm = [ct.spacing_mm[axis] for axis in order]
                count += bool(find_orientation(Volume(array, np.diag([*spacing_mm, 1.0]))).reasons)
    return count


def table(rows: list[Judged]) -> str:
    """Markdown: a line an image."""
    lines = [
        "| image | said | opacities % | bare wall %, right, left | mass ml | patch cm2 "
        "| left-right, front-back, head-feet | of 47 turned, named |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        d = row.disease
        states = ", ".join(row.states)
        lines.append(
            f"| {row.name} | {' '.join(row.codes) or '-'} | {100 * d.opacity_share:.1f} "
            f"| {100 * d.bare_wall_right:.1f}, {100 * d.bare_wall_left:.1f} | {d.mass_ml:.1f} | {d.patch_cm2:.1f} "
            f"| {states} | {'' if row.turned is None else row.turned} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--healthy", type=int, default=20)
    parser.add_argument("--painted", type=int, default=10, help="of each kind")
    asked = parser.parse_args()
    lungs = SegmentLungsd("image", str(shipped_bundle("lung_ct_segmentation")))
    sets: dict[str, Iterator[tuple[str, Volume]]] = {
        "Real CTs": ((name, open_ct(asked.data / path).volume) for name, path in CTS.items()),
        "Healthy phantoms": healthy(asked.healthy),
        "Painted tumours of 30 to 70 mm": painted(LargeTumour, asked.painted, diameter_range_mm=(30.0, 70.0)),
        "Painted consolidations": painted(Consolidation, asked.painted),
    }
    text = "# What is said of diseased lungs and turned images\n"
    for number, (kind, images) in enumerate(sets.items()):
        rows = []
        for index, (name, ct) in enumerate(images):
            rows.append(judge(kind, name, ct, lungs, turn=number == 0 or (number == 1 and index < 2)))
            print(kind, rows[-1].name, rows[-1].codes, flush=True)
        named = sum(any(code in ("W_LARGE_LESION", "W_DISEASED_LUNG") for code in row.codes) for row in rows)
        text += f"\n## {kind}: {named} of {len(rows)} named as diseased\n\n{table(rows)}\n"
    (RESULTS / "lung_warnings.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
