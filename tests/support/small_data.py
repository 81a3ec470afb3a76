"""A data set that a bundle trains on in seconds: a phantom CT with lungs, and crops with a ball in each.

In: a folder. Out: images, label maps, manifests; overrides of a bundle's `train.json` that fit them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lungseg3d.core import Volume
from lungseg3d.data import PhantomSpec, make_phantom
from lungseg3d.io import write_labels, write_volume
from lungseg3d.workflows.compare.plan import Choices

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
LUNGS, NODULES = NAMES = ("lung_ct_segmentation", "lung_nodule_ct_segmentation")


def write_manifest(path: Path, cases: list[dict], structures: dict[str, str] | None = None) -> str:
    content = {"name": path.stem, "source": "made by the test", "licence": "none needed", "cases": cases}
    content |= {"structures": structures} if structures else {}
    path.write_text(json.dumps(content))
    return str(path)


def small_data(folder: Path) -> Path:
    """A phantom CT with lungs, and four crops with a ball in each, in two folds, with their manifests."""
    phantom = make_phantom(PhantomSpec(seed=5, shape=(70, 56, 56), spacing_mm=(6.0, 6.0, 6.0), nodule_count=2))
    lungs = phantom.labels.array
    write_volume(folder / "ct.nii.gz", phantom.ct)
    # Left and right as the validation's manifest has them: 1 left, 2 right.
    swapped = np.select([lungs == 1, lungs == 2], [2, 1], 0).astype(np.uint8)
    write_labels(folder / "lungs.nii.gz", phantom.ct.with_array(swapped))
    case = {"case_id": "ct", "patient": "ct"}
    write_manifest(folder / "cts.json", [{**case, "files": {"image": "ct.nii.gz"}}])
    files = {"image": "ct.nii.gz", "label": "lungs.nii.gz"}
    write_manifest(folder / "validation.json", [{**case, "files": files}], {"1": "left_lung", "2": "right_lung"})
    small_crops(folder)
    return folder


def small_crops(folder: Path) -> Path:
    """Four crops with a ball in each, in two folds, and their manifest `crops.json`."""
    away = np.linalg.norm(np.indices((24, 24, 24)) - 11.5, axis=0)
    crops = []
    for i, radius in enumerate((4, 5, 6, 7)):
        hu = np.where(away <= radius, 40, -850).astype(np.int16)
        write_volume(folder / f"image-{i}.nii.gz", Volume(hu, np.eye(4)))
        write_labels(folder / f"label-{i}.nii.gz", Volume((away <= radius).astype(np.uint8), np.eye(4)))
        files = {"image": f"image-{i}.nii.gz", "label": f"label-{i}.nii.gz"}
        crops.append({"case_id": f"crop-{i}", "patient": f"p{i}", "fold": i % 2, "files": files})
    write_manifest(folder / "crops.json", crops, {"1": "nodule"})
    return folder


def crops_overrides(data: Path) -> dict[str, str]:
    """Overrides of the nodule bundle that train on `small_crops` alone: one epoch of two small batches."""
    manifest = str(data / "crops.json")
    return {
        "nodule_manifest": manifest,
        "host_manifest": manifest,
        "nodule_dir": str(data),
        "dataset_dir": str(data),
        "host_share": "0.0",
        "phantom_seeds": "[7]",
        "train::phantoms::data::shape": "[48, 40, 32]",
        "train::phantoms::data::spacing_mm": "[8.0, 8.0, 8.0]",
        "train::phantoms::data::nodule_count": "2",
        "network_def::channels": "[4, 8]",
        "epochs": "1",
        "batches_per_epoch": "2",
        "batch_size": "2",
        "patch_size": "24",
        "val_interval": "1",
        "precision": "fp32",
        "device": "$torch.device('cpu')",
    }


def small_comparison(data: Path, **changed: object) -> Choices:
    """Two networks of the nodule bundle, two folds and one seed, on `small_crops`."""
    asked = {"bundle": BUNDLES / NODULES, "networks": ("light_unet", "se_unet"), "folds": (0, 1), "seeds": (3,)}
    return Choices(**{**asked, "overrides": crops_overrides(data), **changed})  # type: ignore[arg-type]


def overrides_for(name: str, data: Path, cache: Path) -> dict[str, str]:
    """Overrides of the bundle `name`: one epoch of two small batches of `data`, a small network, on the CPU."""
    few = {
        "dataset_dir": str(data),
        "cache_dir": str(cache),
        "epochs": "1",
        "batches_per_epoch": "2",
        "batch_size": "2",
        "patch_size": "16",
        "val_interval": "1",
        "phantom_seeds": "[7]",
        "train::phantoms::data::shape": "[60, 48, 48]",
        "train::phantoms::data::spacing_mm": "[7.0, 7.0, 7.0]",
        "train::phantoms::data::nodule_count": "2",
        "precision": "fp32",
        "device": "$torch.device('cpu')",
        "spacing_mm": "6.0",
    }
    if name == "lung_ct_segmentation":
        few |= {"manifest": str(data / "cts.json"), "val_manifest": str(data / "validation.json")}
        few |= {"network_def::channels": "[4, 8]"}
    else:
        few |= {"nodule_manifest": str(data / "crops.json"), "host_manifest": str(data / "cts.json")}
        few |= {"nodule_dir": str(data), "spacing_mm": "1.5", "network_def::channels": "[4, 8]"}
    return few
