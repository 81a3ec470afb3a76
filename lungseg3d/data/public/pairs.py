"""A folder of images and labels -> which label belongs to which image, and whose they are.

In: a folder in one of three customs, or a CSV. Out: `Pair`s, sorted. Opens no image.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from lungseg3d.core import LungSegError
from lungseg3d.data.csv_files import read_csv
from lungseg3d.data.public.catalogue import FOLDER

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
_CHANNEL = "_0000"
_CUSTOMS = (("images", "labels"), ("imagesTr", "labelsTr"))
_COLUMNS = ("image", "label", "patient", "fold")


@dataclass(frozen=True)
class Pair:
    """One image and its label, relative to the dataset's folder.

    Attributes:
        image: file, or folder of a DICOM series.
        label: file, or None when the table gives none.
        patient: as the table says, else "".
        fold: as the table says, else None.
        problem: why the pair cannot be used; "" when it can.
    """

    name: str
    image: Path
    label: Path | None
    patient: str = ""
    fold: int | None = None
    problem: str = ""


def list_pairs(folder: Path) -> list[Pair]:
    """The pairs of a dataset folder.

    A CSV with the columns image and label decides, else `images`/`labels`, else nnU-Net's names.
    An image belongs to the label of the same name, whatever the endings; one named `case_0000` that has none, to the
    label `case`: nnU-Net numbers channels so.

    Raises:
        LungSegError: E_NO_CASES when the folder has none of these forms; E_TABLE for a CSV that is none.
    """
    tables = [rows for table in sorted(folder.glob("*.csv")) if (rows := _read_table(table))]
    if len(tables) > 1:
        names = " and ".join(rows[0][0].split(" line ")[0] for rows in tables)
        raise LungSegError("E_TABLE", f"{names} both list images and labels; expected one table.", "Take one away.")
    if tables:
        return [_row_pair(row, place) for place, row in tables[0]]
    for images, labels in _CUSTOMS:
        if (folder / images).is_dir() and (folder / labels).is_dir():
            return _from_folders(folder, images, labels)
    raise LungSegError("E_NO_CASES", f"{folder}: no images and labels; expected {FOLDER.looks_like}.")


def stem_of(name: str) -> str:
    """A file's name without its ending."""
    ending = next((e for e in _ENDINGS if name.lower().endswith(e)), "")
    return name[: len(name) - len(ending)]


def _from_folders(root: Path, images: str, labels: str) -> list[Pair]:
    masks = _by_stem(root / labels)
    found: dict[str, list[Path]] = {}
    for stem, paths in _by_stem(root / images).items():
        channel = stem not in masks and stem.endswith(_CHANNEL)
        found.setdefault(stem.removesuffix(_CHANNEL) if channel else stem, []).extend(paths)
    pairs = []
    for stem in sorted(found | masks):
        image, label = found.get(stem, []), masks.get(stem, [])
        problem = ""
        if len(image) != 1:
            problem = f"{len(image)} images have this name; expected one" if image else f"{images} has no such image"
        elif len(label) != 1:
            problem = f"{len(label)} labels have this name; expected one" if label else f"{labels} has no such label"
        first = (image or label)[0]
        pairs.append(
            Pair(stem, first.relative_to(root), label[0].relative_to(root) if label else None, problem=problem)
        )
    return pairs


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and (path.is_dir() or path.name.lower().endswith(_ENDINGS)):
            found.setdefault(path.name if path.is_dir() else stem_of(path.name), []).append(path)
    return found


def _read_table(table: Path) -> list[tuple[str, dict[str, str]]]:
    """(place for messages, row) of a CSV; empty for a table of other things."""
    try:
        _, rows = read_csv(table, strict=False)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = f"{table.name}: cannot be read ({error})."
        raise LungSegError("E_TABLE", found, "Write it as CSV in UTF-8.") from error
    if not rows or not {"image", "label"} <= set(rows[0]):
        return []
    return [(f"{table.name} line {number}", row) for number, row in enumerate(rows, 2)]


def _row_pair(row: dict[str, str], place: str) -> Pair:
    image, label, patient, fold = ((row.get(column) or "").strip() for column in _COLUMNS)
    if not image:
        raise LungSegError("E_TABLE", f"{place}: no image.", "Give its path, relative to the folder of the table.")
    if fold and not fold.isdecimal():
        raise LungSegError("E_TABLE", f"{place}: fold is {fold!r}; expected a whole number.", "Mend the table.")
    name = stem_of(Path(image).name)
    return Pair(name, Path(image), Path(label) if label else None, patient, int(fold) if fold else None)
