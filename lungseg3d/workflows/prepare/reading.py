"""A case's CT, read as training will read it, and the facts that every manifest states of it.

In: a series found in a dataset, or a volume. Out: `Reading`, JSON-able facts. Knows no dataset.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lungseg3d.core import LungSegError, Volume
from lungseg3d.io import Reading, ReadOptions, SeriesFiles, instance_uids, open_ct


def read_series(series: SeriesFiles, read: ReadOptions, case_id: str) -> Reading:
    """The CT of a series, by its folder alone: a manifest names a folder, and training reads that.

    Raises:
        IntakeError: as `open_ct`.
        LungSegError: E_SERIES_MIXED when the folder's rule of choice takes another series.
    """
    reading = open_ct(series.folder, read)
    own = {uid for uid, _ in series.files}
    if not own & set(instance_uids(reading.files[:1])):
        wanted = f"...{series.series_uid[-12:]}"
        text = f"{case_id}: {series.folder.name} holds several CT series, and another one than {wanted} would be read."
        raise LungSegError("E_SERIES_MIXED", text, "Put each series into a folder of its own.")
    return reading


def read_options_facts(read: ReadOptions) -> dict[str, Any]:
    """The options that are not as by default: whoever reads the cases needs them, too."""
    default = ReadOptions()
    changed = {f.name: getattr(read, f.name) for f in dataclasses.fields(read) if f.compare}
    return {name: value for name, value in changed.items() if value != getattr(default, name)}


def reading_of(content: Mapping[str, Any]) -> ReadOptions:
    """How the cases of a manifest were read when they were prepared: the inverse of `read_options_facts`.

    Raises:
        LungSegError: E_MANIFEST for options that there are not.
    """
    asked = content.get("reading") or {}
    if not isinstance(asked, Mapping) or not set(asked) <= set(ReadOptions.__dataclass_fields__):
        known = ", ".join(ReadOptions.__dataclass_fields__)
        raise LungSegError("E_MANIFEST", f"reading is {asked}; expected a table of {known}.", "Mend the manifest.")
    return ReadOptions(**asked)


def grid_facts(volume: Volume) -> dict[str, Any]:
    """Shape and spacing of a CT."""
    return {"shape": list(volume.shape), "spacing_mm": [round(mm, 4) for mm in volume.spacing_mm]}


def rounded_mm(place_mm: Sequence[float] | np.ndarray) -> list[float]:
    """A place in the world to 0.01 mm: enough for any CT, and the same text on every machine."""
    return [round(float(mm), 2) + 0.0 for mm in place_mm]
