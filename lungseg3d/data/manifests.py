"""Manifests: one JSON per dataset with source, licence, conventions and cases -> data lists for bundles.

In: a manifest file and the folder where the data lie. Out: dictionaries with absolute paths. Reads no pixel.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lungseg3d
from lungseg3d.core import LungSegError
from lungseg3d.core.labels import LABELS, Label
from lungseg3d.data.manifest_checks import parse_manifest, refuse_manifest

MANIFEST_NAME = "manifest.json"
_KEPT_KEYS = ("case_id", "patient", "fold", "split", "facts")


def read_manifest(manifest: Path | str) -> dict[str, Any]:
    """A manifest by its path, or by the name of one that came with this package, such as `nodules_lidc`.

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

    Raises:
        LungSegError: E_MANIFEST when it does not say, or names a structure or value that there is not.
    """
    name, known = content.get("name", "the manifest"), {label.name: label for label in LABELS}
    structures = content.get("structures")
    if not isinstance(structures, dict) or not structures:
        refuse_manifest(name, 'it has no "structures", such as {"1": "nodule"}, that says what its label values mean')
    for value, structure in structures.items():
        if structure not in known or not value.isdecimal() or value == "0":
            names = ", ".join(known)
            refuse_manifest(name, f"structures: {value}: {structure}; expected a whole number and one of {names}")
    return {int(value): known[structure] for value, structure in structures.items()}


def load_datalist(
    manifest: Path | str, dataset_dir: Path | str, fold: int | None = None, held_out: bool = False
) -> list[dict[str, Any]]:
    """The data list of a manifest: every path key of a case made absolute, `case_id`, `patient`, `fold` and
    `facts` beside.

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


def make_nodules_lidc_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of the 107 LIDC-IDRI nodule crops in `folder` (`nodules.csv`, `images/`, `labels/`)."""
    folder = Path(folder)
    cases = []
    with (folder / "nodules.csv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            files = {"image": f"images/{row['id']}.nii.gz", "label": f"labels/{row['id']}.nii.gz"}
            sha256 = {key: hashlib.sha256((folder / name).read_bytes()).hexdigest() for key, name in files.items()}
            facts = {key: float(row[key]) for key in ("diameter_mm", "volume_mm3")} | {"texture": int(row["texture"])}
            cases.append(
                {
                    "case_id": row["id"],
                    "patient": row["id"],
                    "fold": int(row["fold"]),
                    "files": files,
                    "sha256": sha256,
                    "facts": facts,
                }
            )
    return {
        "name": "nodules_lidc",
        "source": "LIDC-IDRI (Armato et al. 2011, Med Phys 38:915), nodule crops of 51 x 51 x 51 voxels at 1 mm",
        "licence": "CC BY 3.0",
        "conventions": {
            "image": "int16 HU, clipped to -1200..400",
            "label": {"1": "nodule, one reader's mask"},
            "patient": "one nodule per patient, so a fold of files is a fold of patients",
        },
        "structures": {"1": "nodule"},
        "cases": cases,
    }
