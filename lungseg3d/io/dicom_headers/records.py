"""What one DICOM file says about itself: records between parsing, choosing and decoding.

In: header values. Out: `DicomFile` with one `Frame` per slice. None = the header does not say; nothing is filled in.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from lungseg3d.io.intake.archives import ZipArchive


@dataclass(frozen=True)
class ByteSource:
    """Where the bytes of one file lie: a path, or a member of a zip archive."""

    path: Path
    member: str | None = None
    archive: ZipArchive | None = field(default=None, compare=False, repr=False)
    deflated: bool = False

    @property
    def name(self) -> Path:
        """For messages and records."""
        return self.path / self.member if self.member else self.path

    def open(self) -> BinaryIO:
        """The bytes as they are stored."""
        if self.archive is None or self.member is None:
            return open(self.path, "rb")
        return io.BytesIO(self.archive.read(self.member))

    def start(self, most: int) -> bytes:
        """The first `most` bytes as they are stored."""
        if self.archive is None or self.member is None:
            with open(self.path, "rb") as stream:
                return stream.read(most)
        return self.archive.read(self.member, most)

    def size(self) -> int:
        """Bytes as stored (inflated, for a zip member)."""
        if self.archive is None or self.member is None:
            return self.path.stat().st_size
        return self.archive.size(self.member)


@dataclass(frozen=True)
class Frame:
    """One slice, in DICOM's own terms (LPS, mm); None = the header does not say."""

    index: int
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    thickness_mm: float | None
    image_type: tuple[str, ...]

    @property
    def is_localizer(self) -> bool:
        """A scout: the scanner says so in ImageType."""
        return "LOCALIZER" in self.image_type


@dataclass(frozen=True)
class Pixels:
    """How the stored values lie in the file; `overlay_bits` is a mask of the bits that are no part of them."""

    keyword: str
    offset: int
    length: int | None
    rows: int | None
    columns: int | None
    samples: int | None
    photometric: str
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    signed: bool | None
    padding: tuple[int, int] | None
    number_of_frames: int
    overlay_bits: int = 0


@dataclass(frozen=True)
class DicomFile:
    """One instance: identity, pixels, slices, and what the record of the source says about it.

    `frame_uid` (of the frame of reference), `series_number` and `instance_number` are as the file has them, right or
    wrong; empty where it has none.
    """

    place: ByteSource
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    patient_hash: str
    modality: str
    transfer_syntax: str
    has_preamble: bool
    pixels: Pixels
    frames: tuple[Frame, ...]
    about: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)
    frame_uid: str = ""
    series_number: str = ""
    instance_number: str = ""

    @property
    def path(self) -> Path:
        """For messages and records."""
        return self.place.name
