"""Manifests: one JSON per dataset with source, licence, conventions and cases -> data lists for bundles.

In: a manifest file and the folder where the data lie. Out: dictionaries with absolute paths. Reads no pixel.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lungseg3d
from lungseg3d.core import LungSegError
from lungseg3d.core.labels import LABELS, NODULE, Label
from lungseg3d.data.manifest_checks import parse_manifest, refuse_manifest

MANIFEST_NAME = "manifest.json"
BACKGROUND_NAME = "background"
"""In `structures`: a value that stands for nothing here, such as the trachea's in a map of lungs."""
_KEPT_KEYS = ("case_id", "patient", "fold", "split", "facts")


def read_manifest(manifest: Path | str) -> dict[str, Any]:
    """A manifest by its path, or by the name of one that came with this package, such as `nodules_luna`.

    Raises:
        LungSegError: E_MANIFEST when there is none, it has no cases, or a field is not what it must be.
    """
    path = Path(manifest)
    package = Path(lungseg3d.__file__).parent
    places = [path, *(folder / "data_manifests" / f"{manifest}.json" for folder in (package, package.parent))]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise LungSegError("E_MANIFEST", f"no manifest {manifest}", "Give a JSON file, or the name of a shipped one.")
    return parse_manifest(found.read_bytes(), str(found))


def label_structures(content: Mapping[str, Any]) -> dict[int, Label]:
    """What the values of a manifest's label files mean, by its `structures` (value -> name in `core.labels`).

    Without `structures`, `conventions.label` counts where it names structures in words, such as "right lung" or
    "tumour". The name `background` leaves a value out: see `known_values`.

    Raises:
        LungSegError: E_MANIFEST when it does not say, or names a structure or value that there is not.
    """
    name, known = content.get("name", "the manifest"), {label.name: label for label in LABELS}
    structures = content.get("structures") or _structures_in_words(content)
    if not isinstance(structures, dict) or not structures:
        refuse_manifest(name, 'it has no "structures", such as {"1": "nodule"}, that says what its label values mean')
    for value, structure in structures.items():
        if structure not in (*known, BACKGROUND_NAME) or not value.isdecimal() or value == "0":
            names = ", ".join(known)
            refuse_manifest(name, f"structures: {value}: {structure}; expected a whole number and one of {names}")
    return {int(value): known[structure] for value, structure in structures.items() if structure in known}


def known_values(content: Mapping[str, Any]) -> frozenset[int]:
    """The values that a manifest's label files may hold besides 0, those left out as `background` too.

    Raises:
        LungSegError: E_MANIFEST, as `label_structures`.
    """
    label_structures(content)
    structures = content.get("structures") or _structures_in_words(content)
    return frozenset(int(value) for value in structures)


def _structures_in_words(content: Mapping[str, Any]) -> dict[str, str]:
    """`conventions.label` as structures; empty where it is no table, or one of its texts names none."""
    words = (content.get("conventions") or {}).get("label")
    if not isinstance(words, Mapping):
        return {}
    names = {}
    for value, text in words.items():
        plain = str(text).lower()
        named = [label.name for label in LABELS if label.title.lower() in plain or label.name == plain]
        named += [NODULE.name] if not named and any(word in plain for word in ("tumour", "tumor")) else []
        names[str(value)] = named[0] if len(named) == 1 else ""
    return names if all(names.values()) else {}


def load_datalist(
    manifest: Path | str, dataset_dir: Path | str, fold: int | None = None, held_out: bool = False
) -> list[dict[str, Any]]:
    """The data list of a manifest: every path of a case made absolute.

    Each entry also has `case_id`, `patient`, `fold` and `facts`.

    Args:
        manifest: file or shipped name.
        dataset_dir: folder that the manifest's paths start from.
        fold: a cross-validation fold; None takes every case.
        held_out: with a fold, True takes that fold's cases only, False all others.

    Raises:
        LungSegError: E_MANIFEST as `read_manifest`; E_MISSING_DATA with the first missing file;
            E_SPLIT_LEAK when one patient is on both sides of the fold.
    """
    content = read_manifest(manifest)
    root = Path(dataset_dir)
    cases = content["cases"]
    if fold is not None:
        if lone := next((case["case_id"] for case in cases if "patient" not in case), None):
            refuse_manifest(str(manifest), f"{lone} names no patient, so folds cannot be kept apart")
        sides = {side: {c["patient"] for c in cases if (c.get("fold") == fold) is side} for side in (True, False)}
        if both := sorted(sides[True] & sides[False]):
            raise LungSegError("E_SPLIT_LEAK", f"patient {both[0]} is in fold {fold} and outside it", "Mend the folds.")
        cases = [case for case in cases if (case.get("fold") == fold) is held_out]
    entries = []
    for case in cases:
        entry = {key: case[key] for key in _KEPT_KEYS if case.get(key) is not None}
        for key, relative in case["files"].items():
            path = root / relative
            if not _exists(path):
                raise LungSegError(
                    "E_MISSING_DATA",
                    f"{content.get('name', manifest)}: {case['case_id']} has no {key} at {path}",
                    f"Set dataset_dir to the folder that holds the data ({content.get('source', 'see its manifest')}).",
                )
            entry[key] = str(path)
        entries.append(entry)
    return entries


def manifest_text(content: Mapping[str, Any]) -> str:
    """A manifest as it is written, one case a line: the same content gives the same bytes."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    parts = []
    for key, value in content.items():
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            parts.append(f"  {line(key)}: [\n" + ",\n".join(f"    {line(item)}" for item in value) + "\n  ]")
        else:
            text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
            parts.append(f"  {line(key)}: " + text.replace("\n", "\n  "))
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for any file
        return False


def phantom_datalist(seeds: Sequence[int], **spec: Any) -> list[dict[str, Any]]:
    """Data list of phantoms: one entry {"phantom": PhantomSpec fields, "case_id": name} per seed."""
    return [{"phantom": {"seed": seed, **spec}, "case_id": f"phantom-{seed:04d}"} for seed in seeds]


def make_nodules_luna_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of the LUNA16 reference nodules in `folder`, as cubes of 50 x 50 x 50 voxels at 1 mm.

    Args:
        folder: `nodules.csv`, `images/`, `labels/`, `others/` for cubes that show further nodules,
            `readers/` and `marks.csv` where there are any.

    Returns:
        One case a nodule, with patient and fold of `nodules.csv`. `others` and `ignore` are the same file: a training
        counts what other readers' outlines hold as nodule, an evaluation leaves it out; it is background to neither.

    Source: Armato et al. 2011, Med Phys 38:915 (LIDC-IDRI); Setio et al. 2017, Med Image Anal 42:1 (LUNA16); cubes as
    the baseline of NODE21 cut them.
    """
    folder = Path(folder)
    with (folder / "nodules.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    crops = {row["patient"]: row["in_134"] for row in rows if row["in_134"]}
    return {
        "name": "nodules_luna",
        "source": "LUNA16 reference nodules (Setio et al. 2017, Med Image Anal 42:1) of LIDC-IDRI (Armato et al. 2011, "
        "Med Phys 38:915), cubes of 50 x 50 x 50 voxels at 1 mm",
        "licence": "CC BY 3.0 (LIDC-IDRI), CC BY 4.0 (LUNA16)",
        "conventions": {
            "image": "int16 HU in steps of 8, -1024..1536; the nodule lies in the middle",
            "label": {"1": "the nodule in the middle: voxels that at least two readers outlined, outlines left out"},
            "others": "further contoured nodules in the cube, one bit a reader; nodule or ignored, never background",
            "ignore": "the same file as others, for evaluations",
            "readers": "the nodule in the middle, bit k set where reader k outlined it",
            "marks": "what else readers and a published detector marked in the cubes, all of them in one table",
            "patient": "of LIDC-IDRI; a patient may have several nodules, all of them in one fold",
            "texture": "mean rating of the readers, rounded half up: 1 ground glass .. 5 solid",
            "known_as": "the patient's name in other data sets",
        },
        "structures": {"1": "nodule"},
        "cases": [_luna_case(folder, row, crops.get(row["patient"])) for row in rows],
    }


def _luna_case(folder: Path, row: Mapping[str, str], crop: str | None) -> dict[str, Any]:
    """One nodule; `crop` is the name of a crop of the same patient in the older `nodules_lidc`."""
    files = {"image": f"images/{row['id']}.nii.gz", "label": f"labels/{row['id']}.nii.gz"}
    if (folder / "readers").is_dir():
        files["readers"] = f"readers/{row['id']}.nii.gz"
    if (folder / "marks.csv").is_file():
        files["marks"] = "marks.csv"
    if (folder / "others" / f"{row['id']}.nii.gz").is_file():
        files |= dict.fromkeys(("others", "ignore"), f"others/{row['id']}.nii.gz")
    return {
        "case_id": row["id"],
        "patient": row["patient"],
        "known_as": {"lidc": row["patient"], **({"nodules_lidc": crop} if crop else {})},
        "fold": int(row["fold"]),
        "files": files,
        "sha256": {key: hashlib.sha256((folder / name).read_bytes()).hexdigest() for key, name in files.items()},
        "facts": {
            "diameter_mm": float(row["diameter_mm"]),
            "volume_mm3": float(row["volume_mm3"]),
            "texture": math.floor(float(row["texture"]) + 0.5),
            "readers": int(row["n_readers"]),
        },
    }
