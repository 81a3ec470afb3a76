"""A chest whose lungs are told by their HU, and bundles whose networks do just that.

In: nothing. Out: volumes with known answers, two bundle folders. Reads no real data and trains nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lungseg3d.core import Volume
from lungseg3d.io import pin_weights
from tests.support.small_data import BUNDLES, small_crops

SPACING_MM = (3.0, 3.0, 4.0)
RIGHT_HU, LEFT_HU, TISSUE_HU = -900, -700, 40
# Logits are slope * image + offset, image 0 at -1000 HU and 1 at 400 HU: right below -790 HU, left below -650 HU.
LUNG_LINES = {0: (400.0, -100.0), 1: (-400.0, 60.0), 2: (0.0, 0.0)}
# A nodule begins half-way between the right lung and tissue.
NODULE_LINES = {0: (0.0, 0.0), 1: (40.0, -40.0 * (RIGHT_HU + TISSUE_HU + 2000) / 2800)}


def ball(grid: np.ndarray, centre_mm: tuple[float, float, float], radii_mm: float | tuple[float, float, float]):
    """Voxels inside an ellipsoid."""
    return (((grid - centre_mm) / np.array(radii_mm)) ** 2).sum(axis=-1) <= 1


@pytest.fixture(scope="session")
def chest() -> SimpleNamespace:
    """A block of tissue with two lungs, about 0.4 l each, and a nodule in the right one: `ct`, `labels`."""
    shape = (60, 44, 34)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = [-s * (n - 1) / 2 for s, n in zip(SPACING_MM, shape, strict=True)]
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = voxels * np.array(SPACING_MM) + affine[:3, 3]
    right, left = ball(world, (45, 0, 0), (33, 52, 56)), ball(world, (-45, 4, 4), (31, 50, 54))
    nodule = ball(world, (50, 10, -6), 11)
    hu = np.full(shape, TISSUE_HU, np.int16)
    hu[right], hu[left], hu[nodule] = RIGHT_HU, LEFT_HU, TISSUE_HU
    labels = np.where(nodule, 3, np.where(right, 1, np.where(left, 2, 0))).astype(np.uint8)
    return SimpleNamespace(ct=Volume(hu, affine), labels=Volume(labels, affine))


def threshold_network(lines: Mapping[int, tuple[float, float]]):
    """A `LightUNet3d` whose logits depend on their own voxel alone."""
    import torch

    from lungseg3d.networks import LightUNet3d

    network = LightUNet3d(out_channels=len(lines), channels=(8, 8))
    with torch.no_grad():
        for name, value in network.state_dict().items():
            value.fill_(1.0 if name.endswith("running_var") else 0.0)
        # The 8 channels of the encoder's first level are the voxels of a 2 x 2 x 2 block: its skip is the identity.
        skip = network.decoder[0][0].skip
        skip[1].weight.fill_(1.0)
        for i in range(8):
            skip[0].weight[i, 8 + i] = 1.0
            for c, (slope, offset) in lines.items():
                network.head.weight[8 * c + i, i, 1, 1, 1] = slope
                network.head.bias[8 * c + i] = offset
    return network


@pytest.fixture(scope="session")
def crops(tmp_path_factory) -> Path:
    """Four crops with a ball in each, in two folds, and their manifest."""
    return small_crops(tmp_path_factory.mktemp("crops"))


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    """`make_bundle(name, root, lines, **overrides)`: a shipped bundle's configuration around a threshold network."""
    import torch

    def make(name: str, root: Path, lines: Mapping[int, tuple[float, float]], **overrides) -> Path:
        (root / "models").mkdir(parents=True)
        shutil.copytree(BUNDLES / name / "configs", root / "configs")
        for of_the_shipped_weights in ("training_range.json", "calibration.json", "operating_points.json"):
            (root / "configs" / of_the_shipped_weights).unlink(missing_ok=True)
        config = json.loads((root / "configs" / "inference.json").read_text(encoding="utf-8"))
        config["network_def"]["channels"] = [8, 8]
        config.update(overrides)
        (root / "configs" / "inference.json").write_text(json.dumps(config), encoding="utf-8")
        torch.save(threshold_network(lines).state_dict(), root / "models" / "model.pt")
        pin_weights(root)
        return root

    return make


@pytest.fixture(scope="session")
def bundles(make_bundle, tmp_path_factory) -> SimpleNamespace:
    """`lungs` and `nodules`: bundle folders that tell the chest's parts by their HU."""
    folder = tmp_path_factory.mktemp("bundles")
    return SimpleNamespace(
        lungs=make_bundle("lung_ct_segmentation", folder / "lungs", LUNG_LINES),
        nodules=make_bundle("lung_nodule_ct_segmentation", folder / "nodules", NODULE_LINES, spacing_mm=2.0),
    )
