"""Every code that preparing, checking and splitting a dataset may give, and what it means.

In: nothing. Out: `DATA_CODES`. What reading an image may give stands in `lungseg3d.io.codes`. `E_` refuses a case or
the whole dataset; `W_` is noted in the manifest and the case goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DATA_CODES: Mapping[str, str] = MappingProxyType(
    {
        "E_DUPLICATE_CASE": "Two cases have the same image, or the same case id; one input is listed twice.",
        "E_EMPTY_LABEL": "A label without any structure, which nothing in the manifest explains.",
        "E_FAILED": "A case failed in a way that has no code of its own; the reason names the error.",
        "E_LABEL_INVERTED": "A mask is the background of its image (turned round), or all of the image is foreground.",
        "E_LABEL_NAMES": "The labels hold values whose meaning nobody has said.",
        "E_MANIFEST": "A manifest is absent, no JSON, or a field is not what it must be.",
        "E_MISSING_DATA": "A file that the manifest lists is not there.",
        "E_NO_CASES": "The folder holds no case of this dataset.",
        "E_NODULE_OUTSIDE_LUNGS": "A nodule lies more than 10 mm from the lungs, as classical rules find them.",
        "E_NO_DOWNLOAD": "The dataset is not at one address; its publisher gives it out otherwise.",
        "E_NO_LABEL": "An image without its label, or a label without its image.",
        "E_NO_STRUCTURE": "The structures of a case lack the one that is wanted.",
        "E_SERIES_MIXED": "A folder holds several CT series, and training would read another one than was labelled.",
        "E_SPLIT_LEAK": "One patient is on both sides of a split.",
        "E_TABLE": "A CSV or JSON table of a dataset is not as it must be.",
        "E_TRAINING_RECORD": "A bundle's record of its training cases cannot be read.",
        "E_XML": "An annotation file is no XML, or not of the form that the dataset has.",
        "W_CT_NOT_IDENTIFIED": "The CT is no DICOM, so that it belongs to its structures cannot be proved.",
        "W_CONTOURS_OUTSIDE": "Some contours lie beyond the CT and were left out.",
        "W_EMPTY_CONSENSUS": "A nodule has no voxel that enough readers agree on.",
        "W_LABEL_IN_AIR": "Most of a nodule's voxels are air outside of any lung.",
        "W_LABEL_LARGE": "A nodule label of more than a litre.",
        "W_LABEL_VALUES": "A prediction holds, beside known values, some that the manifest does not know.",
        "W_NODULE_OUTSIDE_CT": "A nodule of a table lies outside its CT.",
        "W_NO_STRUCTURE": "A structure that may be absent is absent.",
        "W_PATIENT_ASSUMED": "Whose CT a case is was taken from its name, or from the name alone it cannot be told.",
        "W_SAME_PATIENT": "Two cases of one patient, by their DICOM headers, are listed as two patients.",
        "W_SIDES_SWAPPED": "Left and right were named the other way round; the place in the body decided.",
        "W_TRAINED_ON": "Cases of an evaluation were in the training of the weights.",
        "W_SLICES_UNDRAWN": "Slices inside a structure carry no contour and stay empty.",
    }
)
