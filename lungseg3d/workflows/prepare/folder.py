"""Preparing a folder of images and labels, and the Medical Segmentation Decathlon's lung task, which is one.

In: a folder. Out: `FoundDataset`; each case is read once to see that image and label fit. Writes no label.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from lungseg3d.core import LungSegError, QualityIssue, UsageError, Volume
from lungseg3d.core.labels import LABELS, NODULE
from lungseg3d.data import (
    BACKGROUND_NAME,
    FOLDER,
    MSD_LUNG,
    Dataset,
    Pair,
    count_values,
    list_pairs,
    shape_issues,
    value_issue,
)
from lungseg3d.io import ReadOptions, file_key, open_ct, read_labels
from lungseg3d.workflows.prepare.patients import patients_of
from lungseg3d.workflows.prepare.reading import grid_facts
from lungseg3d.workflows.prepare.run import FoundCase, FoundDataset, MadeCase

_SHOWN_VALUES = 10
_NAME_IT = "Mend the label[, or say what the value means: --label=VALUE=NAME, with background to leave it out]."
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
        structures: value in the labels -> name in `core.labels`, or `background`. None: a lone value 1 is a nodule, and
            what other values mean is not known (see `values_of_first_label`).

    Raises:
        LungSegError: E_NO_CASES, E_TABLE.
    """
    pairs = list_pairs(source)
    if structures is None:
        structures = {1: NODULE.name} if values_of_first_label(source, pairs, read) == (1,) else {}
    patients, rule, remarks = patients_of(pairs, source)
    conventions = {"image": "CT in HU", "label": "as found; the values of a case are in its facts", "patient": rule}
    twins = _twins(pairs, source)
    cases = [
        _FolderCase(pair, source, read, structures, twin).found(patient)
        for pair, patient, twin in zip(pairs, patients, twins, strict=True)
    ]
    return FoundDataset(about, conventions, cases, structures, remarks=remarks)


def values_of_first_label(
    source: Path,
    pairs: Sequence[Pair] | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
) -> tuple[int, ...]:
    """The values but 0 of the first label of a folder that has any; empty where no label can be read.

    Raises:
        LungSegError: E_NO_CASES, E_TABLE, without `pairs`.
    """
    for pair in list_pairs(source) if pairs is None else pairs:
        try:
            values = tuple(count_values(read_labels(source / pair.label, read).array)) if pair.label else ()
        except (LungSegError, OSError):  # refused with its reason when the case is made
            continue
        if values:
            return values
    return ()


def refuse_unnamed_values(values: Sequence[int]) -> NoReturn:
    """Stop before hours of reading: without names, training and evaluation could not use the manifest.

    Raises:
        UsageError: E_LABEL_NAMES, always.
    """
    listed = ", ".join(map(str, values[:_SHOWN_VALUES])) + (", ..." if len(values) > _SHOWN_VALUES else "")
    names = ", ".join([*(label.name for label in LABELS), BACKGROUND_NAME])
    text = f"the labels hold {listed}, and nobody has said what these values mean."
    raise UsageError("E_LABEL_NAMES", text, f"Say it for each[: --label={values[0]}=NAME]; names: {names}.")


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
    cases = [_FolderCase(pair, source, read, {1: NODULE.name}).found(pair.name, "training") for pair in pairs]
    return FoundDataset(MSD_LUNG, conventions, cases, {1: NODULE.name})


def _msd_pair(image: str, label: str, root: Path, source: Path) -> Pair:
    inside = root.relative_to(source)
    return Pair(Path(image).name.removesuffix(".nii.gz"), inside / image, inside / label)


def _twins(pairs: Sequence[Pair], source: Path) -> list[str]:
    """For each pair the earlier image that is the same file in another spelling; "" for most."""
    seen: dict[tuple[object, ...], int] = {}
    firsts = [seen.setdefault(file_key(source / pair.image), number) for number, pair in enumerate(pairs)]
    return ["" if first == number else str(pairs[first].image) for number, first in enumerate(firsts)]


@dataclass(frozen=True)
class _FolderCase:
    """One pair of a folder, to be read.

    Attributes:
        pair: image and label, relative to `source`.
        source: the folder.
        read: how CTs are read.
        structures: value in the labels -> name; empty where nobody knows.
        twin: an earlier image that is the same file; "" where there is none.
    """

    pair: Pair
    source: Path
    read: ReadOptions
    structures: Mapping[int, str]
    twin: str = ""

    def found(self, patient: str, split: str | None = None) -> FoundCase:
        """As `prepare` takes it."""
        return FoundCase(self.pair.name, patient, self.make, self.pair.fold, split)

    def make(self, labels: Path, case_id: str) -> MadeCase:
        """See that image and label can be read and fit."""
        pair = self.pair
        if pair.problem:
            raise LungSegError(
                "E_NO_LABEL", f"{pair.name}: {pair.problem}.", "Add the file, or take the other one out."
            )
        if self.twin:
            text = f"{case_id}: {pair.image} and {self.twin} are the same image."
            raise LungSegError("E_DUPLICATE_CASE", text, "Take one of them out of the table.")
        image = self.source / pair.image
        read = replace(self.read, links_within=self.source)
        reading = open_ct(image, read)
        facts: dict[str, Any] = grid_facts(reading.volume)
        if pair.label is None:
            return MadeCase({"image": image}, facts, reading.issues)
        label = self.source / pair.label
        mask = read_labels(label, read)
        if not reading.volume.grid.matches(mask.grid, tolerance_mm=0.1):
            found = f"image {reading.volume.shape} and label {mask.shape} lie on different grids"
            raise LungSegError("E_GRID_MISMATCH", f"{case_id}: {found}.", _GRIDS_APART)
        ml = mask.voxel_volume_mm3 / 1000
        facts["label_ml"] = {str(v): round(float(n * ml), 3) for v, n in count_values(mask.array).items()}
        issues = self._label_issues(mask, reading.volume, case_id)
        return MadeCase({"image": image, "label": label}, facts, (*reading.issues, *issues))

    def _label_issues(self, mask: Volume, ct: Volume, case_id: str) -> list[QualityIssue]:
        """What its user must know of the label.

        Raises:
            LungSegError: E_LABEL_VALUES, E_LABEL_INVERTED.
        """
        if not self.structures:
            return []
        known = {label.name: label for label in LABELS}
        meanings = {value: known[name] for value, name in self.structures.items() if name in known}
        values = count_values(mask.array)
        unknown = value_issue("the label", values, list(self.structures), remedy=_NAME_IT)
        issues = [*([unknown] if unknown else [])]
        issues += shape_issues("the label", mask.array, meanings, mask.voxel_volume_mm3, ct.array)
        if refusal := next((issue for issue in issues if issue.code.startswith("E_")), None):
            raise LungSegError(refusal.code, f"{case_id}: {refusal.message}", refusal.remedy)
        return issues
