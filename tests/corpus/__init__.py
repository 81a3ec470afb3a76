"""Every row of the catalogue of tricky inputs, as a builder and a verdict: `CASES`.

In: nothing. Out: `CASES`, in the order of their ids. Used by tests/io/intake/test_corpus.py and benchmarks/readers.py.
"""

from tests.corpus import (
    dicom_damage,
    dicom_enhanced,
    dicom_folders,
    dicom_geometry,
    dicom_pixels,
    dicom_slices,
    dicom_syntaxes,
    nifti_damage,
    nifti_geometry,
    nifti_values,
    nrrd_meta,
)
from tests.corpus.case import CorpusCase, Made, difference

_THEMES = (
    dicom_slices,
    dicom_geometry,
    dicom_folders,
    dicom_pixels,
    dicom_syntaxes,
    dicom_enhanced,
    dicom_damage,
    nifti_values,
    nifti_geometry,
    nifti_damage,
    nrrd_meta,
)
CASES: tuple[CorpusCase, ...] = tuple(
    sorted((case for theme in _THEMES for case in theme.CASES), key=lambda case: case.id)
)

__all__ = ["CASES", "CorpusCase", "Made", "difference"]
