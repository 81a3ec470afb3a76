"""Results of schema 1 rewritten as schema 2: the same findings, some of them candidates, numbered anew.

In: a folder as `segment` left it before there were candidates. Out: the folder as it leaves it now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lungseg3d.core.labels import NODULE
from lungseg3d.io import read_labels, write_labels
from lungseg3d.transforms import fill_from_nearest

DEFAULT = {"name": "default", "least_confidence": {"solid": 0.5, "part-solid": 0.5, "ground-glass": 0.25}}


def as_schema_2(folder: Path, candidates: Mapping[int, str], point: Mapping | None = None) -> dict[int, int]:
    """Rewrite a case folder.

    Args:
        folder: with `labels.nii.gz`, `nodules.nii.gz` and `result.json`.
        candidates: number of a finding -> why it is not listed.
        point: what `operating_point` says; None: `DEFAULT`.

    Returns:
        Former number of each finding -> its number now.
    """
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    rows = sorted(
        record["nodules"], key=lambda row: (row["id"] in candidates, -(row.get("confidence") or 0), row["id"])
    )
    number = {row["id"]: place for place, row in enumerate(rows, start=1)}
    for row in rows:
        row["reason"] = candidates.get(row["id"], "")
        row["id"] = number[row["id"]]
    listed = [row for row in rows if not row["reason"]]
    record |= {"schema_version": 2, "operating_point": dict(DEFAULT if point is None else point)}
    record |= {"nodules": listed, "candidates": rows[len(listed) :]}
    (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")
    found, labels = read_labels(folder / "nodules.nii.gz"), read_labels(folder / "labels.nii.gz")
    table = np.zeros(int(found.array.max(initial=0)) + 1, np.uint16)
    for old, new in number.items():
        table[old] = new
    renumbered = table[found.array]
    behind = renumbered > len(listed)
    write_labels(folder / "nodules.nii.gz", found.with_array(np.where(behind, 0, renumbered).astype(np.uint16)))
    write_labels(folder / "candidates.nii.gz", found.with_array(np.where(behind, renumbered, 0).astype(np.uint16)))
    array = labels.array
    if behind.any():
        is_lung = bool(((array > 0) & (array != NODULE.value)).any())
        lungs = fill_from_nearest(array, array == NODULE.value) if is_lung else np.zeros_like(array)
        array = np.where(behind, lungs, array)
    write_labels(folder / "labels.nii.gz", labels.with_array(array))
    return number
