"""A case's masks and measurements as DICOM objects: which are asked for, what they are called, and why one is missing.

In: the words of `--format`; a record, its masks, its series. Out: encoded objects by file name. Writes nothing itself.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lungseg3d.core import CaseResult, GeometryError, OutputError, QualityIssue, UsageError, Volume
from lungseg3d.core.errors import fault_of
from lungseg3d.io import (
    Algorithm,
    CaseFolder,
    Masks,
    Measured,
    SourceSeries,
    has_no_series,
    list_segments,
    make_dicom_seg,
    make_dicom_sr,
    missing_objects,
    write_bytes,
)

logger = logging.getLogger(__name__)

FORMATS = ("nifti", "seg", "sr")
NIFTI_NAMES = (*CaseFolder.MASKS, CaseFolder.CANDIDATES)
MASK_NAMES = (*NIFTI_NAMES, CaseFolder.SEG, CaseFolder.SR)


def cannot_be_made(inputs: Sequence[Path | str], formats: Collection[str]) -> bool:
    """Whether DICOM objects are asked for and every input is an image file, so that all of them will be refused."""
    return needs_dicom(formats) and bool(inputs) and all(map(has_no_series, inputs))


@dataclass(frozen=True)
class Objects:
    """The objects of a case.

    Attributes:
        files: each as its bytes, by the name of its file.
        issues: why one that was asked for is not among them, and what a reader of those that are must know.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    issues: tuple[QualityIssue, ...] = ()


def formats_of(text: str, known: Collection[str] = FORMATS) -> tuple[str, ...]:
    """The words of a list such as `nifti,seg,sr`, each once, in the order of `FORMATS`.

    `sr` brings `seg`, to which it refers.

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
    result: CaseResult,
    labels: Volume,
    nodules: Volume,
    source: SourceSeries,
    formats: Collection[str],
    dates: str = "source",
) -> Objects:
    """The objects that are asked for.

    What the library that makes them cannot make is an issue and no error: by then the networks have done their work,
    and a fault in one file must not cost the others.

    Args:
        result: of the case, with its provenance.
        labels, nodules: masks of it.
        source: the series that they are of.
        formats: words of `FORMATS`.
        dates: `source` or `now`, see `io.dicom_identity.stamp_of`.

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
        dates=dates,
    )
    files: dict[str, bytes] = {}
    try:
        seg = make_dicom_seg(masks, source)
        if "seg" in formats:
            files[CaseFolder.SEG] = encode(seg)
        if "sr" in formats:
            measured = Measured(result.lungs, result.nodules, list_segments(masks, source), masks, seg)
            files[CaseFolder.SR] = encode(make_dicom_sr(measured, source))
    except (OutputError, GeometryError):
        raise
    except Exception as error:
        logger.debug("no DICOM objects", exc_info=True)
        return Objects(files, (*source.issues, missing_objects(f"{fault_of(error)}, which please report.", files)))
    return Objects(files, source.issues)


def encode(dataset: Any) -> bytes:
    """A dataset as the bytes of its file."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def with_objects(
    result: CaseResult,
    labels: Volume,
    nodules: Volume,
    source: SourceSeries,
    formats: Collection[str],
    dates: str = "source",
) -> tuple[CaseResult, Mapping[str, bytes]]:
    """The record with its DICOM objects among the files, and the objects; a warning where there are none."""
    try:
        objects = make_objects(result, labels, nodules, source, formats, dates)
    except OutputError as error:
        objects = Objects(issues=(QualityIssue("W_EMPTY_RESULT", error.message),))
    new = [issue for issue in objects.issues if issue not in result.issues]
    return replace(result, files=(*result.files, *objects.files), issues=(*result.issues, *new)), objects.files


def write_objects(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write each object under its name.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    for name, content in files.items():
        write_bytes(folder / name, content)


def _algorithm(provenance: Mapping[str, Any], role: str) -> Algorithm:
    """The bundle of one role; without lungs of their own the nodules' bundle stands for both."""
    bundles = provenance.get("bundles", {})
    bundle = bundles.get(role) or bundles.get("nodules") or {}
    sums = {key: str(bundle[key]) for key in ("weights_sha256", "judge_sha256", "outline_sha256") if key in bundle}
    return Algorithm(str(bundle.get("name", "lungseg3d")), str(bundle.get("version", "unknown")), sums)
