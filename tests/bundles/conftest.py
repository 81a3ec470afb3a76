"""What tests of bundles need: a network whose answer is known, and a data set of spheres.

In: a folder. Out: weights, manifests, small CTs. Reads no real data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from lungseg3d.core import Volume
from lungseg3d.io import pin_weights, write_labels, write_volume
from lungseg3d.networks import LightUNet3d

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SPHERE_HU, LUNG_HU = 40, -850


@pytest.fixture(scope="session")
def bundles() -> Path:
    """The folder of the bundles in this repository."""
    return BUNDLES


def threshold_weights(definition: Mapping[str, object], lines: Mapping[int, tuple[float, float]]) -> dict:
    """Weights of a `LightUNet3d` that looks at one voxel only: logit of class c = slope * image + offset.

    Args:
        definition: the bundle's `network_def`.
        lines: class -> (slope, offset); the other classes have logit 0.
    """
    network = LightUNet3d(**{k: v for k, v in definition.items() if not k.startswith("_")})  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first, last = network.encoder[0][0].skip, network.decoder[-1][0].skip
        width = first[0].out_channels
        first[1].weight.fill_(1)
        last[1].weight.fill_(1)
        for voxel in range(8):  # the eight voxels of a 2 x 2 x 2 block are channels inside
            first[0].weight[voxel, voxel] = 1
            last[0].weight[voxel, width + voxel] = 1
            for c, (slope, offset) in lines.items():
                network.head.weight[8 * c + voxel, voxel, 1, 1, 1] = slope
                network.head.bias[8 * c + voxel] = offset
    return network.state_dict()


@pytest.fixture(scope="session")
def save_weights() -> Callable[[Path, Path, Mapping[int, tuple[float, float]]], None]:
    """Function (bundle, file, lines): write `threshold_weights` for the network of a bundle."""

    def save(bundle: Path, file: Path, lines: Mapping[int, tuple[float, float]]) -> None:
        definition = json.loads((bundle / "configs" / "inference.json").read_text())["network_def"]
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(threshold_weights(definition, lines), file)
        if file.parent.name == "models":
            pin_weights(file.parent.parent)

    return save


@pytest.fixture(scope="session")
def spheres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of four crops with a sphere each, in two folds: `manifest.json` beside `image-*` and `label-*`."""
    folder = tmp_path_factory.mktemp("spheres")
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    away = np.linalg.norm(np.indices((32, 32, 32)) - 15.5, axis=0)
    cases = []
    for i, radius in enumerate((5, 6, 7, 8)):
        inside = away <= radius
        files = {"image": f"image-{i}.nii.gz", "label": f"label-{i}.nii.gz"}
        write_volume(folder / files["image"], Volume(np.where(inside, SPHERE_HU, LUNG_HU).astype(np.int16), affine))
        write_labels(folder / files["label"], Volume(inside.astype(np.uint8), affine))
        cases.append({"case_id": f"sphere-{i}", "patient": f"p{i}", "fold": i % 2, "files": files})
    content = {"name": "spheres", "source": "made by the test", "licence": "none needed", "cases": cases}
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder
