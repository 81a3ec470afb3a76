"""Output formats: one row of `OUTPUT_FORMATS` for each word of `--format`, and what makes its files.

In: the words of `--format`; a record, its masks, its series. Out: encoded files by name. Writes nothing itself.
A further format is a function from `FinishedCase` to the bytes of its files, and a row here; `segment`, `batch`,
`export`, the memory plan and the removal of outdated files take what they need from the row.
"""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
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

@dataclass(frozen=True, eq=False)
class FinishedCase:
    """What a format's files are made of.

    Attributes:
        result: the record of the case.
        masks: its masks, with what made them.
        series: the DICOM series that they are of; None for an image file.
    """

    result: CaseResult
    masks: Masks
    series: SourceSeries | None

    @functools.cached_property
    def segmentation(self) -> Any:
        """The DICOM SEG, made once: objects that refer to it share it."""
        return make_dicom_seg(self.masks, self.source)

    @property
    def source(self) -> SourceSeries:
        """The series; for formats with `needs_series`, which are not made without one."""
        assert self.series is not None
        return self.series


@dataclass(frozen=True)
class OutputFormat:
    """One word of `--format`.

    Attributes:
        name: the word.
        title: what `--help` says of it.
        files: names of its files in the case's folder.
        make: the bytes of each of its files; None for the label maps, which are written straight to the disk.
        needs_series: whether it refers to a DICOM series, so that an image file is refused.
        brings: formats that are written with it, as it refers to them.
        bytes_per_voxel: memory that making it takes, for the memory plan.
    """

    name: str
    title: str
    files: tuple[str, ...]
    make: Callable[[FinishedCase], Mapping[str, bytes]] | None = None
    needs_series: bool = False
    brings: tuple[str, ...] = ()
    bytes_per_voxel: float = 0.0


def _make_seg(case: FinishedCase) -> Mapping[str, bytes]:
    return {CaseFolder.SEG: encode(case.segmentation)}


def _make_sr(case: FinishedCase) -> Mapping[str, bytes]:
    segments = list_segments(case.masks, case.source)
    measured = Measured(case.result.lungs, case.result.nodules, segments, case.masks, case.segmentation)
    return {CaseFolder.SR: encode(make_dicom_sr(measured, case.source))}


NIFTI_NAMES = (*CaseFolder.MASKS, CaseFolder.CANDIDATES)
OUTPUT_FORMATS = (
    OutputFormat("nifti", "nifti", NIFTI_NAMES),
    OutputFormat("seg", "seg (DICOM SEG)", (CaseFolder.SEG,), _make_seg, needs_series=True, bytes_per_voxel=2.0),
    OutputFormat(
        "sr", "sr (DICOM SR, with seg)", (CaseFolder.SR,), _make_sr, True, brings=("seg",), bytes_per_voxel=2.0
    ),
)
FORMATS = tuple(one.name for one in OUTPUT_FORMATS)
MASK_NAMES = tuple(name for one in OUTPUT_FORMATS for name in one.files)


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
    """The words of a list such as `nifti,seg,sr`, each once, in the order of `FORMATS`, with those that they bring.

    Raises:
        UsageError: E_BAD_OPTION for a word that is not known, or none at all.
    """
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    strange = [word for word in words if word not in known]
    if strange or not words:
        found = f"--format does not know {', '.join(strange)}." if strange else "--format is empty."
        raise UsageError("E_BAD_OPTION", found, f"Known, separated by commas: {', '.join(known)}")
    brought = {name for one in OUTPUT_FORMATS if one.name in words for name in one.brings}
    return tuple(name for name in FORMATS if name in words or name in brought)


def rows_of(formats: Collection[str]) -> tuple[OutputFormat, ...]:
    """The rows of these words, in the order of the table."""
    return tuple(one for one in OUTPUT_FORMATS if one.name in formats)


def made_formats(formats: Collection[str], series: SourceSeries | None) -> tuple[OutputFormat, ...]:
    """Those of these words whose files are made here: the label maps are not, nor what lacks the series it needs."""
    found = (one for one in rows_of(formats) if one.make is not None)
    return tuple(one for one in found if series is not None or not one.needs_series)


def needs_dicom(formats: Collection[str]) -> bool:
    """Whether a format refers to the DICOM series."""
    return any(one.needs_series for one in rows_of(formats))


def make_objects(
    result: CaseResult,
    labels: Volume,
    nodules: Volume,
    source: SourceSeries | None,
    formats: Collection[str],
    dates: str = "source",
) -> Objects:
    """The objects that are asked for.

    What the library that makes them cannot make is an issue and no error: by then the networks have done their work,
    and a fault in one file must not cost the others.

    Args:
        result: of the case, with its provenance.
        labels, nodules: masks of it.
        source: the series that they are of; None for an image file, of which no format that needs one is made.
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
    case, notes = FinishedCase(result, masks, source), source.issues if source is not None else ()
    try:
        # Those that no series can spoil come first: what fails behind them does not cost them.
        for one in sorted(made_formats(formats, source), key=lambda one: one.needs_series):
            files |= one.make(case) if one.make is not None else {}
    except (OutputError, GeometryError):
        raise
    except Exception as error:
        logger.debug("no DICOM objects", exc_info=True)
        return Objects(files, (*notes, missing_objects(f"{fault_of(error)}, which please report.", files)))
    return Objects(files, notes)


def encode(dataset: Any) -> bytes:
    """A dataset as the bytes of its file."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def with_objects(
    result: CaseResult,
    labels: Volume,
    nodules: Volume,
    source: SourceSeries | None,
    formats: Collection[str],
    dates: str = "source",
) -> tuple[CaseResult, Mapping[str, bytes]]:
    """The record with its DICOM objects among the files, and the objects; a warning where there are none."""
    try:
        objects = make_objects(result, labels, nodules, source, formats, dates)
    except OutputError as error:
        without_series = [one.name for one in rows_of(formats) if not one.needs_series]
        made = make_objects(result, labels, nodules, source, without_series, dates)
        objects = Objects(made.files, (QualityIssue("W_EMPTY_RESULT", error.message),))
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
