"""A label map against what its manifest says: values that nobody knows, masks turned round, impossible sizes.

In: label arrays (X, Y, Z), what their values mean, the CT's HU where it is at hand. Out: `QualityIssue`s: `E_` for a
map that cannot be used, `W_` for what its reader must know. Opens no file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from lungseg3d.core import QualityIssue
from lungseg3d.core.labels import NODULE, Label

LEAST_FACE_SHARE = 0.5
"""A mask that touches all six faces of its image and covers more of them than this is taken for the background.

Largest shares of real masks: 0.002 of 930 LIDC nodules in cubes of 50 mm, 0.03 of lungs and tumours in their box."""
LARGE_NODULE_ML = 1000.0
"""Ten centimetres across and more: lungs or a body that were declared as nodule, not a tumour that fits a scale."""
_AIR_HU = -950
_SHOWN_VALUES = 5
_CHUNK = 2**22


def count_values(array: np.ndarray) -> dict[int, int]:
    """Voxels of each value but 0 of an integer array, by ascending value."""
    flat = array.ravel(order="K")
    lowest = min(0, int(flat.min(initial=0)))
    counts = np.zeros(int(flat.max(initial=0)) - lowest + 1, np.int64)
    for start in range(0, flat.size, _CHUNK):  # bincount copies to 64 bit: a whole CT at once would be a gigabyte
        part = np.bincount(flat[start : start + _CHUNK].astype(np.int64) - lowest, minlength=counts.size)
        counts += part
    return {int(i) + lowest: int(counts[i]) for i in np.flatnonzero(counts) if i + lowest != 0}


def value_issue(
    what: str, counts: Mapping[int, int], known: Collection[int], *, is_reference: bool = True, remedy: str = ""
) -> QualityIssue | None:
    """Values that the manifest does not know.

    Args:
        what: of the map, such as `the label`.
        counts: voxels of each value but 0.
        known: values that have a meaning.
        is_reference: a reference is refused for any unknown value. A prediction is refused when it holds unknown
            values alone, whose Dice would be 0 whatever it is worth; else they are a warning.
        remedy: in place of the usual one.

    Returns:
        E_LABEL_VALUES, W_LABEL_VALUES, or None where every value is known.
    """
    unknown = {value: n for value, n in counts.items() if value not in known}
    if not unknown:
        return None
    is_lost = not any(value in known for value in counts)
    shown = ", ".join(f"{value} ({_voxels(n)})" for value, n in list(unknown.items())[:_SHOWN_VALUES])
    more = f" and {len(unknown) - _SHOWN_VALUES} further values" if len(unknown) > _SHOWN_VALUES else ""
    expected = ", ".join(str(value) for value in sorted(set(known) - {0})) or "none"
    text = f"{what} holds {'only ' if is_lost else ''}{shown}{more}; the manifest knows {expected}"
    way_out = remedy or (
        'Mend the label, or name the value in the manifest\'s structures; "background" leaves a value out.'
    )
    if is_reference or is_lost:
        return QualityIssue("E_LABEL_VALUES", f"{text}.", way_out)
    return QualityIssue("W_LABEL_VALUES", f"{text}, so these voxels count as background.", way_out)


def shape_issues(
    what: str, array: np.ndarray, structures: Mapping[int, Label], voxel_mm3: float, hu: np.ndarray | None = None
) -> Iterator[QualityIssue]:
    """Masks that cannot be what they are called.

    Args:
        what: of the map, such as `the label`.
        array: the map, (X, Y, Z).
        structures: value -> structure.
        voxel_mm3: volume of a voxel.
        hu: the CT on the same grid, or None.

    Yields:
        E_LABEL_INVERTED for a structure that touches all six faces of the image and covers more than
        `LEAST_FACE_SHARE` of them: a mask turned round, or all foreground. W_LABEL_LARGE for nodules of more than
        `LARGE_NODULE_ML` together, W_LABEL_IN_AIR for nodules most of whose voxels are air outside of any lung.
    """
    for value, label in structures.items():
        mask = array == value
        voxels = int(mask.sum())
        if not voxels:
            continue
        named = f"{what}'s {label.title.lower()} (value {value})"
        if inverted := inverted_issue(named, mask, voxel_mm3):
            yield inverted
        elif label is NODULE and voxels * voxel_mm3 / 1000 > LARGE_NODULE_ML:
            text = f"{named} is {_ml(voxels * voxel_mm3)} in {_voxels(voxels)}: no nodule is that large."
            yield QualityIssue("W_LABEL_LARGE", text, "See that the value means a nodule, not lungs or the body.")
        elif label is NODULE and hu is not None and (median := float(np.median(hu[mask]))) < _AIR_HU:
            text = f"{named} lies in air: half of its {_voxels(voxels)} are below {median:.0f} HU."
            yield QualityIssue("W_LABEL_IN_AIR", text, "See that the label belongs to this image and is not mirrored.")


def inverted_issue(named: str, mask: np.ndarray, voxel_mm3: float) -> QualityIssue | None:
    """E_LABEL_INVERTED where a mask, bool (X, Y, Z), is the background of its image rather than a thing in it."""
    faces = [mask.take(place, axis) for axis in range(mask.ndim) for place in (0, -1)]
    share = sum(int(face.sum()) for face in faces) / sum(face.size for face in faces)
    if share <= LEAST_FACE_SHARE or not all(face.any() for face in faces):
        return None
    voxels = int(mask.sum())
    text = (
        f"{named} fills {100 * voxels / mask.size:.1f} % of the image ({_ml(voxels * voxel_mm3)}, {_voxels(voxels)}) "
        f"and covers {100 * share:.0f} % of its six faces: the mask is turned round, or all of it is foreground."
    )
    return QualityIssue("E_LABEL_INVERTED", text, "Exchange 0 and the value in the file, or take the case out.")


def label_issues(
    what: str, array: np.ndarray, structures: Mapping[int, Label], known: Collection[int], voxel_mm3: float
) -> list[QualityIssue]:
    """Everything that is wrong with a reference; see `value_issue` and `shape_issues`.

    Args:
        what: of the map, such as `the label`.
        array: the map, (X, Y, Z), integers.
        structures: value -> structure.
        known: values that have a meaning, those that are left out as background too.
        voxel_mm3: volume of a voxel.
    """
    unknown = value_issue(what, count_values(array), known)
    return [*([unknown] if unknown else []), *shape_issues(what, array, structures, voxel_mm3)]


def with_case(issue: QualityIssue, case_id: str) -> QualityIssue:
    """The issue with its case in front, for where many cases are listed."""
    return QualityIssue(issue.code, f"{case_id}: {issue.message}", issue.remedy)


def _voxels(n: int) -> str:
    return f"{n:,} voxel{'' if n == 1 else 's'}"


def _ml(mm3: float) -> str:
    return f"{mm3 / 1000:,.0f} ml" if mm3 >= 10_000 else f"{mm3 / 1000:,.2g} ml"
