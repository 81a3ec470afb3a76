"""A case's masks and measurements as DICOM objects: which are asked for, and what they are called.

In: the words of `--format`; a record, its masks, its series. Out: datasets by file name. Writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lungseg3d.core import CaseResult, OutputError, QualityIssue, UsageError, Volume
from lungseg3d.io import Algorithm, Masks, Measured, SourceSeries, list_segments, make_dicom_seg, make_dicom_sr, writing

FORMATS = ("nifti", "seg", "sr")
SEG_NAME, SR_NAME = "segmentation.dcm", "measurements.dcm"
NIFTI_NAMES = ("labels.nii.gz", "nodules.nii.gz")
MASK_NAMES = (*NIFTI_NAMES, SEG_NAME, SR_NAME)


def formats_of(text: str, known: Collection[str] = FORMATS) -> tuple[str, ...]:
    """The words of a list such as `nifti,seg,sr`, each once, in the order of `FORMATS`; `sr` brings `seg`, to which it
    refers.

    Raises:
        UsageError: E_BAD_OPTION for a word that is not known, or none at all.
    """
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    strange = [word for word in words if word not in known]
    if strange or not words:
        found = f"--format does not know {', '.join(strange)}." if strange else "--format is empty."
        raise UsageError("E_BAD_OPTION", found, f"Known, separated by commas: {', '.join(known)}")
    return tuple(f for f in FORMATS if f in words or (f == "seg" and "sr" in words))


def needs_dicom(formats: Collection[str]) -> bool:
    """Whether a format refers to the DICOM series."""
    return bool({"seg", "sr"} & set(formats))


def make_objects(
    result: CaseResult, labels: Volume, nodules: Volume, source: SourceSeries, formats: Collection[str]
) -> dict[str, Any]:
    """The datasets that are asked for, by the name of their file.

    Raises:
        OutputError: E_EMPTY_RESULT when there is neither a lung nor a nodule.
        GeometryError: E_GRID_MISMATCH when the masks do not lie on the grid of the series.
    """
    masks = Masks(
        labels=labels,
        nodules=nodules,
        lung_algorithm=_algorithm(result.provenance, "lungs"),
        nodule_algorithm=_algorithm(result.provenance, "nodules"),
        software_version=str(result.provenance.get("versions", {}).get("lungseg3d", "unknown")),
        sides={nodule.id: nodule.side for nodule in result.nodules},
    )
    seg = make_dicom_seg(masks, source)
    objects = {SEG_NAME: seg} if "seg" in formats else {}
    if "sr" in formats:
        measured = Measured(result.lungs, result.nodules, list_segments(masks, source), masks, seg)
        objects[SR_NAME] = make_dicom_sr(measured, source)
    return objects


def with_objects(
    result: CaseResult, labels: Volume, nodules: Volume, source: SourceSeries, formats: Collection[str]
) -> tuple[CaseResult, dict[str, Any]]:
    """The record with its DICOM objects among the files, and the objects; a warning where nothing was found."""
    try:
        objects = make_objects(result, labels, nodules, source, formats)
        issues = source.issues
    except OutputError as error:
        objects, issues = {}, (QualityIssue("W_EMPTY_RESULT", error.message),)
    return replace(result, files=(*result.files, *objects), issues=(*result.issues, *issues)), objects


def write_objects(folder: Path, objects: Mapping[str, Any]) -> None:
    """Write each dataset under its name.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    for name, dataset in objects.items():
        with writing(folder / name) as file:
            dataset.save_as(file, enforce_file_format=True)


def _algorithm(provenance: Mapping[str, Any], role: str) -> Algorithm:
    """The bundle of one role; without lungs of their own the nodules' bundle stands for both."""
    bundles = provenance.get("bundles", {})
    bundle = bundles.get(role) or bundles.get("nodules") or {}
    sums = {key: str(bundle[key]) for key in ("weights_sha256", "judge_sha256", "outline_sha256") if key in bundle}
    return Algorithm(str(bundle.get("name", "lungseg3d")), str(bundle.get("version", "unknown")), sums)
