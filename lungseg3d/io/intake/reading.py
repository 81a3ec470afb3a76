"""The records of reading: what may be asked, what was read, what was found on the way.

In: nothing. Out: `ReadOptions`, `Reading`, `SeriesInfo`, `Inspection`, `Findings`. Knows no file format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from lungseg3d.core import IntakeError, QualityIssue, Volume, to_json
from lungseg3d.core.errors import one_line
from lungseg3d.io.intake.memory_budget import MemoryBudget

IN_PROCESS, APART = "in-process", "apart"
"""Where files are decoded: here, or in a process of their own, see `lungseg3d.io.decoding.client`."""


@dataclass(frozen=True)
class ReadOptions:
    """What the user allows beyond the strict reading.

    Attributes:
        allow_gaps: fill missing slices and uneven spacing by linear interpolation along the slice axis.
        assume_hu: take stored values as HU where the rescale tags are absent.
        series: SeriesInstanceUID to read, instead of the rule of choice.
        study: StudyInstanceUID to look at, where a folder holds several; see `list_studies`.
        fix_offset: subtract 1024 where the values look like HU + 1024.
        assume_axes: three letters such as "RAS" or "LPS": the direction that each array axis runs to,
            for files that carry no orientation.
        volume_index: which volume (from 0) of a 4D file to read.
        strict: refuse derived images, too.
        verify_manifest: list of SHA-256 sums, as `sha256sum` writes it, that every file read must agree with.
        follow_links: follow links that lead outside of the input, too; see `lungseg3d.io.intake.links`.
        links_within: folder that links may lead to without that; None takes the input itself. It chooses no voxel, so
            it is not part of what two readings are compared by.
        decode: `in-process`, or `apart`: a decoder that crashes, hangs or takes all memory costs its own file. It
            changes no voxel, so it is not part of what two readings are compared by.
        memory: what the CT and what is to be done with it may take, by its header; None asks nothing.
    """

    allow_gaps: bool = False
    assume_hu: bool = False
    series: str | None = None
    fix_offset: bool = False
    assume_axes: str | None = None
    volume_index: int | None = None
    strict: bool = False
    verify_manifest: Path | None = None
    study: str | None = None
    follow_links: bool = False
    links_within: Path | None = field(default=None, compare=False)
    decode: str = field(default=IN_PROCESS, compare=False)
    memory: MemoryBudget | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Reading:
    """One CT as read.

    Attributes:
        volume: int16 HU, array axes as in the source, RAS affine in mm.
        issues: warnings, in the order of finding.
        source: format, slices, scanner, ...: JSON-able, without patient identifiers.
        files: the files of the slices in order of the last axis; one file for NIfTI, NRRD, MHA.
    """

    volume: Volume
    issues: tuple[QualityIssue, ...]
    source: dict[str, Any]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class SeriesInfo:
    """One series (or one image file) as it lies on the disk.

    Attributes:
        uid: SeriesInstanceUID; empty for image files.
        modality: as the header says.
        slices: number of slices, localizers not counted.
        columns, rows: matrix.
        spacing_mm: between columns, rows and slices; None where not known.
        orientation: `axial`, `coronal`, `sagittal`, `oblique`, `localizer` or empty.
        thickness_mm: nominal slice thickness; None where not known.
        kernel: reconstruction kernel; empty where not known.
        problem: code and text of why it cannot be read; empty when nothing in the headers forbids it.
    """

    uid: str
    modality: str
    slices: int
    columns: int | None = None
    rows: int | None = None
    spacing_mm: tuple[float | None, float | None, float | None] = (None, None, None)
    orientation: str = ""
    thickness_mm: float | None = None
    kernel: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Inspection:
    """What lies under a path, and whether it can be used.

    Attributes:
        series: everything found.
        chosen: uid of the series that is read (empty string for an image file), None when none is.
        reason: why this one.
        status: `ok`, `warn` or `refused`.
        issues: warnings and, last, the refusal.
        source: as in `Reading`; empty when refused.
    """

    series: tuple[SeriesInfo, ...]
    chosen: str | None
    reason: str
    status: str
    issues: tuple[QualityIssue, ...]
    source: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As `json.dumps` takes it: series, chosen, reason, status, issues with code and message, source."""
        return {name: to_json(getattr(self, name)) for name in self.__dataclass_fields__}


@dataclass
class Findings:
    """Collects what is found while a path is being read, also when the reading ends in a refusal."""

    issues: list[QualityIssue] = field(default_factory=list)
    series: list[SeriesInfo] = field(default_factory=list)
    chosen: str | None = None
    reason: str = ""

    def warn(self, code: str, message: str, remedy: str = "") -> None:
        """Note something the reader of the result must know."""
        issue = QualityIssue(code, one_line(message), one_line(remedy))
        if issue not in self.issues:
            self.issues.append(issue)


def refuse(code: str, message: str, remedy: str = "") -> NoReturn:
    """Stop reading.

    Raises:
        IntakeError: always.
    """
    raise IntakeError(code, message, remedy)


def shown(path: Path | str, root: Path | None = None) -> str:
    """A path for messages: relative to `root`, or its last part; control characters escaped.

    Parents of the input stay out: folder names of a hospital's disk may name patients.
    """
    text = Path(path)
    if root is not None and text != root and text.is_relative_to(root):
        text = text.relative_to(root)
    else:
        text = Path(text.name or text.absolute().name or text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
