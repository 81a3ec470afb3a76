"""Preparing a folder of images and labels, and the Medical Segmentation Decathlon's lung task, which is one.

In: a folder. Out: `FoundDataset`; each case is read once to see that image and label fit. Writes no label.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.core import LungSegError
from lungseg3d.core.labels import NODULE
from lungseg3d.data import FOLDER, MSD_LUNG, Dataset, Pair, list_pairs
from lungseg3d.io import ReadOptions, open_ct, read_labels
from lungseg3d.workflows.prepare import FoundCase, FoundDataset, MadeCase
from lungseg3d.workflows.prepare_reading import grid_facts

_GRIDS_APART = "Resample the label onto its image, or export both again."


def find_folder(
    source: Path,
    read: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    about: Dataset = FOLDER,
    structures: Mapping[int, str] | None = None,
) -> FoundDataset:
    """The images and labels of any folder; see `lungseg3d.data.list_pairs` for its forms.

    Args:
        source: the folder.
        read: how its CTs are read.
        about: name, source and licence for the manifest.
        structures: value in the labels -> name in `core.labels`, where it is known.

    Raises:
        LungSegError: E_NO_CASES, E_TABLE.
    """
    conventions = {"image": "CT in HU", "label": "as found; the values of a case are in its facts"}
    return FoundDataset(about, conventions, [_case(p, source, read) for p in list_pairs(source)], structures or {})


def find_msd_lung(source: Path, read: ReadOptions = ReadOptions()) -> FoundDataset:  # noqa: B008 - frozen
    """The training cases of Task06_Lung, as its `dataset.json` lists them; the test cases have no labels.

    Raises:
        LungSegError: E_NO_CASES without `dataset.json`; E_TABLE when it is no table of the Decathlon.
    """
    root = next((place for place in (source, source / "Task06_Lung") if (place / "dataset.json").is_file()), None)
    if root is None:
        raise LungSegError(
            "E_NO_CASES", f"{source}: no dataset.json; expected {MSD_LUNG.looks_like}.", MSD_LUNG.how_to_get
        )
    try:
        table = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
        pairs = [_msd_pair(row["image"], row["label"], root, source) for row in table["training"]]
    except (ValueError, KeyError, TypeError) as error:
        raise LungSegError(
            "E_TABLE",
            f"dataset.json: {type(error).__name__}: {error}; expected the Decathlon's form.",
            MSD_LUNG.how_to_get,
        ) from error
    conventions = {
        "image": "CT in HU",
        "label": {"1": "tumour"},
        "patient": "one case per patient, as the Decathlon states no patients",
    }
    cases = [_case(pair, source, read, split="training") for pair in pairs]
    return FoundDataset(MSD_LUNG, conventions, cases, {1: NODULE.name})


def _msd_pair(image: str, label: str, root: Path, source: Path) -> Pair:
    inside = root.relative_to(source)
    name = Path(image).name.removesuffix(".nii.gz")
    return Pair(name, inside / image, inside / label, name)


def _case(pair: Pair, source: Path, read: ReadOptions, split: str | None = None) -> FoundCase:
    return FoundCase(pair.name, pair.patient, partial(_make, pair, source, read), pair.fold, split)


def _make(pair: Pair, source: Path, read: ReadOptions, labels: Path, case_id: str) -> MadeCase:
    if pair.problem:
        raise LungSegError("E_NO_LABEL", f"{pair.name}: {pair.problem}.", "Add the file, or take the other one out.")
    image = source / pair.image
    reading = open_ct(image, read)
    facts: dict[str, Any] = grid_facts(reading.volume)
    if pair.label is None:
        return MadeCase({"image": image}, facts, reading.issues)
    label = source / pair.label
    mask = read_labels(label, read)
    if not reading.volume.grid.matches(mask.grid, tolerance_mm=0.1):
        found = f"image {reading.volume.shape} and label {mask.shape} lie on different grids"
        raise LungSegError("E_GRID_MISMATCH", f"{case_id}: {found}.", _GRIDS_APART)
    values, counts = np.unique(mask.array, return_counts=True)
    ml = mask.voxel_volume_mm3 / 1000
    facts["label_ml"] = {str(v): round(float(n * ml), 3) for v, n in zip(values, counts, strict=True) if v}
    return MadeCase({"image": image, "label": label}, facts, reading.issues)
