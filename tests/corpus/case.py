"""One row of the corpus: an input that is easy to misread, and what must come of it.

In: nothing. Out: `CorpusCase`, `Made`, and `difference`, which compares volumes voxel by voxel in the world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lungseg3d.core import Volume

PLACE_TOLERANCE_MM = 0.1


@dataclass(frozen=True, eq=False)
class Made:
    """An input on the disk.

    Attributes:
        path: what a reader is given.
        truth: the CT that truly lies there, int16 HU; None where nobody can know it.
        also: other volumes that a reader may rightly hand out, such as the other of two series.
        tolerance_hu: how far values may be off; above 0 for lossy pixels only.
        options: fields of `ReadOptions` that depend on the place.
    """

    path: Path
    truth: Volume | None = None
    also: tuple[Volume, ...] = ()
    tolerance_hu: int = 0
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class CorpusCase:
    """One input and its verdict.

    Attributes:
        id: row of the catalogue, with a suffix where a row has several inputs: `N22-trailer`.
        title: what is special about the input.
        make: writes the input under an empty folder.
        codes: exactly the warnings of an accepted input (none: it is read without a word), or one `E_` code.
        options: fields of `ReadOptions` beyond the default.
        says: text that the message of the first code must hold.
        heavy: claims much memory or time, so it is measured in a process of its own.
    """

    id: str
    title: str
    make: Callable[[Path], Made]
    codes: frozenset[str] = frozenset()
    options: Mapping[str, object] = field(default_factory=dict)
    says: str = ""
    heavy: bool = False

    @property
    def verdict(self) -> str:
        """`ok`, `warn` or `refused`."""
        if any(code.startswith("E_") for code in self.codes):
            return "refused"
        return "warn" if self.codes else "ok"


def row(
    case_id: str, title: str, make: Callable[[Path], Made], *codes: str, says: str = "", heavy: bool = False, **options
) -> CorpusCase:
    """A `CorpusCase`; `options` are fields of `ReadOptions`."""
    return CorpusCase(case_id, title, make, frozenset(codes), options, says, heavy)


def difference(found: Volume, truth: Volume, tolerance_hu: float = 0) -> str:
    """What is wrong with a volume, by the place of its voxels in the world; empty when nothing is.

    The order and direction of the array's axes do not matter. Places may differ by 0.1 mm.
    """
    ours, theirs = found.as_ras(), truth.as_ras()
    if ours.shape != theirs.shape:
        return f"{ours.shape} voxels, truly {theirs.shape}"
    corners = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (np.array(ours.shape) - 1)
    apart = np.linalg.norm(ours.grid.to_world(corners) - theirs.grid.to_world(corners), axis=1).max()
    if not apart <= PLACE_TOLERANCE_MM:
        return f"voxels lie up to {apart:.2f} mm from their place"
    off = np.abs(ours.array.astype(np.float64) - theirs.array)
    if not off.max() <= tolerance_hu:
        return f"{int((off > tolerance_hu).sum())} voxels are off, by up to {off.max():g} HU"
    return ""
