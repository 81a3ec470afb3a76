"""The one table of label values: names, colours, DICOM codes; and the tables of others.

In: nothing. Out: `Label` rows. Nothing else in this project knows what 2 means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class CodedTerm:
    """A coded term as DICOM writes it: scheme designator, value, meaning (PS3.3 table 8.8-1)."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """One structure of the label map.

    Attributes:
        value: voxel value in `labels.nii.gz`.
        name: lower-case name with underscores, as written in JSON and CSV.
        title: name for people.
        colour: sRGB, each 0-255.
        code: SNOMED CT term of the structure.
        laterality: SNOMED CT qualifier of the side, or None.
        category: what kind of thing it is (DICOM CID 7150, segmentation property categories).
        region: SNOMED CT term of the body part that it lies in; None where `code` says so itself.
    """

    value: int
    name: str
    title: str
    colour: tuple[int, int, int]
    code: CodedTerm
    laterality: CodedTerm | None = None
    category: CodedTerm = CodedTerm("SCT", "91723000", "Anatomical Structure")
    region: CodedTerm | None = None

    @property
    def hex_colour(self) -> str:
        """The colour as CSS writes it, such as `#1f77b4`."""
        return "#{:02x}{:02x}{:02x}".format(*self.colour)


BACKGROUND = 0
_LUNG = CodedTerm("SCT", "39607008", "Lung")

RIGHT_LUNG = Label(1, "right_lung", "Right lung", (86, 180, 233), _LUNG, CodedTerm("SCT", "24028007", "Right"))
LEFT_LUNG = Label(2, "left_lung", "Left lung", (0, 158, 115), _LUNG, CodedTerm("SCT", "7771000", "Left"))
NODULE = Label(
    3,
    "nodule",
    "Nodule",
    (230, 75, 0),
    CodedTerm("SCT", "27925004", "Nodule"),
    category=CodedTerm("SCT", "49755003", "Morphologically Abnormal Structure"),
    region=_LUNG,
)

LABELS: tuple[Label, ...] = (RIGHT_LUNG, LEFT_LUNG, NODULE)
LUNGS: tuple[Label, ...] = (RIGHT_LUNG, LEFT_LUNG)

# Tables of other people: their value -> our value; None = not a structure of ours.
LUNA16_SEG_LUNGS: Mapping[int, int | None] = MappingProxyType({3: LEFT_LUNG.value, 4: RIGHT_LUNG.value, 5: None})
"""LUNA16 `seg-lungs`. Which of 3 and 4 is left varies in practice, so prepare it by geometry (Setio et al. 2017)."""
NSCLC_RADIOMICS_LUNGS: Mapping[int, int | None] = MappingProxyType({1: LEFT_LUNG.value, 2: RIGHT_LUNG.value})
"""Lung masks as exported from the NSCLC-Radiomics RTSTRUCT: 1 left, 2 right."""


def label_of(value: int) -> Label:
    """The row of a voxel value.

    Raises:
        KeyError: the value is not in the table.
    """
    for label in LABELS:
        if label.value == value:
            return label
    raise KeyError(f"{value} is not a label value; the table has {[label.value for label in LABELS]}")
