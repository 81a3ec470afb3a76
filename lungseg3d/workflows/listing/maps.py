"""The masks of a finished case -> one map of everything that was found, nodules and candidates.

In: a folder of `segment`. Out: `FindingMaps`, values are `Nodule.id`. Results of schema 1 have no candidates: their
nodules are everything. Measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungseg3d.core import GeometryError, IntakeError, Volume
from lungseg3d.io import CaseFolder, read_labels

_AGAIN = "Segment the CT again."


@dataclass(frozen=True, eq=False)
class FindingMaps:
    """What was found in one CT, on its grid.

    Attributes:
        all: every finding by its number; a number means one finding.
        candidates: those that are not listed; None where there are none.
    """

    all: Volume
    candidates: Volume | None = None


def read_findings(folder: CaseFolder, candidates: int = 0) -> FindingMaps:
    """The masks of a case.

    Args:
        folder: with `nodules.nii.gz` and, where something was found that is not listed, `candidates.nii.gz`.
        candidates: how many of them the record has.

    Raises:
        IntakeError: E_NOT_A_RESULT where the candidates of the record have no map, or one number is in both maps; or
            as `read_labels`.
        GeometryError: E_GRID_MISMATCH for maps on two grids.
    """
    nodules = read_labels(folder.nodules)
    if not folder.candidates.is_file():
        if candidates:
            counted = "1 candidate" if candidates == 1 else f"{candidates} candidates"
            text = f"{folder.name}: {folder.RECORD} has {counted}, and {folder.CANDIDATES} is missing."
            raise IntakeError("E_NOT_A_RESULT", text, _AGAIN)
        return FindingMaps(nodules)
    others = read_labels(folder.candidates)
    if not nodules.grid.matches(others.grid):
        text = f"{folder.name}: {folder.CANDIDATES} has {others.grid}, {folder.NODULES} {nodules.grid}."
        raise GeometryError("E_GRID_MISMATCH", text, _AGAIN)
    here = others.array > 0
    if not here.any():
        return FindingMaps(nodules)
    if shared := np.intersect1d(nodules.array[nodules.array > 0], others.array[here]).tolist():
        text = f"{folder.name}: number {shared[0]} is in {folder.NODULES} and in {folder.CANDIDATES}."
        raise IntakeError("E_NOT_A_RESULT", text, _AGAIN)
    joined = nodules.array.astype(np.promote_types(nodules.array.dtype, others.array.dtype))
    np.copyto(joined, others.array, where=here & (joined == 0))
    return FindingMaps(nodules.with_array(joined), others)
