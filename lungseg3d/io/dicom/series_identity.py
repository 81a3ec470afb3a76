"""Which series this is and which slices it has, as its headers say it: what DICOM objects of it depend on.

In: the files of one series. Out: warnings with their consequence for SEG and SR, and whether these can be made at all.
Found when the CT is read, long before objects are written. Source: DICOM PS3.5 9.1 (UIDs), PS3.3 C.7.4.1 (frame of
reference: one for a series), PS3.4 (an instance is known by its SOPInstanceUID alone).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lungseg3d.core import QualityIssue
from lungseg3d.io.dicom_headers.records import DicomFile
from lungseg3d.io.dicom_headers.texts import IDENTIFIERS, OddText
from lungseg3d.io.intake.reading import shown

_VALID_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_LONGEST_UID = 64
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,11}\s*")
_LARGEST_INTEGER = 2**31 - 1
_NEW_UIDS = (
    "Anonymise or export the original again so that each slice keeps a UID of its own, or do without seg and sr."
)
_UIDS: tuple[tuple[str, Callable[[DicomFile], str]], ...] = (
    ("StudyInstanceUID", lambda file: file.study_uid),
    ("SeriesInstanceUID", lambda file: file.series_uid),
    ("SOPInstanceUID", lambda file: file.sop_uid),
)


@dataclass(frozen=True)
class Oddity:
    """Something odd about a series' identity; `forbids` says whether no object can be made of it."""

    issue: QualityIssue
    forbids: bool = False


def find_oddities(files: Sequence[DicomFile], texts: Sequence[OddText]) -> tuple[Oddity, ...]:
    """What is odd about the identity of a series.

    Args:
        files: of the slices that are read; a multi-frame file once.
        texts: of its first header, as `mend_texts` gives them.
    """
    return tuple((*_odd_uids(files), *_odd_frames(files), *_odd_numbers(files), *_odd_identifiers(texts)))


def is_uid(text: str) -> bool:
    """Whether a text is a UID as DICOM defines it."""
    return len(text) <= _LONGEST_UID and _VALID_UID.fullmatch(text) is not None


def is_integer(text: str) -> bool:
    """Whether a text is an integer string (IS): 12 characters, 32 bits."""
    return _INTEGER.fullmatch(text) is not None and abs(int(text)) <= _LARGEST_INTEGER


def frame_of_reference(files: Sequence[DicomFile]) -> str:
    """The one frame of reference that the slices state; empty where none or several are stated."""
    stated = {file.frame_uid for file in files if is_uid(file.frame_uid)}
    return stated.pop() if len(stated) == 1 else ""


def _odd_uids(files: Sequence[DicomFile]) -> Iterator[Oddity]:
    for keyword, uid_of in _UIDS:
        wrong = [file for file in files if not is_uid(uid_of(file))]
        if wrong:
            found = (
                f"{keyword} of {_share(wrong, files)} {_uid_problem(uid_of(wrong[0]))}, as in {shown(wrong[0].path)}"
            )
            text = f"{found}: SEG and SR would have to repeat it, so they cannot be made."
            yield Oddity(QualityIssue("W_INVALID_UID", text, _NEW_UIDS), forbids=True)
    counts = Counter(file.sop_uid for file in files if file.sop_uid)
    repeated = [count for count in counts.values() if count > 1]
    if repeated:
        text = (
            f"{sum(repeated)} of {len(files)} slices share {len(repeated)} SOPInstanceUID"
            f"{'' if len(repeated) == 1 else 's'}: an archive keeps one slice of each, and a SEG cannot say on which "
            "slice it lies, so SEG and SR cannot be made."
        )
        yield Oddity(QualityIssue("W_REPEATED_INSTANCE_UID", text, _NEW_UIDS), forbids=True)


def _uid_problem(uid: str) -> str:
    if not uid:
        return "is absent or empty"
    if len(uid) > _LONGEST_UID:
        return f"has {len(uid)} characters (DICOM allows {_LONGEST_UID})"
    if re.fullmatch(r"[0-9.]+", uid):
        return "has an empty part or one with a leading zero"
    return "holds characters other than digits and dots"


def _odd_frames(files: Sequence[DicomFile]) -> Iterator[Oddity]:
    stated = Counter(file.frame_uid for file in files if is_uid(file.frame_uid))
    lacking = len(files) - sum(stated.values())
    if not stated:
        what = "no frame of reference" if not any(file.frame_uid for file in files) else "no valid frame of reference"
        text = f"the series has {what}; SEG and SR bear one made for it, and refer to its images."
        yield Oddity(QualityIssue("W_NO_FRAME_OF_REFERENCE", text))
    elif len(stated) > 1:
        counts = ", ".join(str(count) for count in sorted(stated.values(), reverse=True))
        text = (
            f"FrameOfReferenceUID names {len(stated)} frames of reference ({counts} slices), as after repositioning or "
            "half an anonymisation: their places may not be comparable. SEG and SR bear one made for the series."
        )
        yield Oddity(QualityIssue("W_MIXED_FRAMES_OF_REFERENCE", text, "Look whether the slices fit together."))
    elif lacking:
        text = (
            f"FrameOfReferenceUID is absent, empty or invalid in {lacking} of {len(files)} slices; SEG and SR bear "
            "that of the others."
        )
        yield Oddity(QualityIssue("W_MIXED_FRAMES_OF_REFERENCE", text, "Look whether the slices fit together."))


def _odd_numbers(files: Sequence[DicomFile]) -> Iterator[Oddity]:
    consequences = {
        "SeriesNumber": "SEG and SR have numbers that do not follow it",
        "InstanceNumber": "viewers may order the slices wrongly; here the position counts",
    }
    values: dict[str, Callable[[DicomFile], str]] = {
        "SeriesNumber": lambda file: file.series_number,
        "InstanceNumber": lambda file: file.instance_number,
    }
    for keyword, consequence in consequences.items():
        wrong = [file for file in files if values[keyword](file) and not is_integer(values[keyword](file))]
        if wrong:
            text = (
                f"{keyword} of {_share(wrong, files)} is no integer of up to 12 characters and 32 bits: {consequence}."
            )
            yield Oddity(QualityIssue("W_INVALID_NUMBER", text))


def _odd_identifiers(texts: Sequence[OddText]) -> Iterator[Oddity]:
    for odd in texts:
        if odd.keyword in IDENTIFIERS:
            text = f"{odd.keyword} {odd.problem}: {odd.consequence}."
            remedy = "" if odd.is_mended else "Correct it where the CT comes from, or do without seg and sr."
            yield Oddity(QualityIssue("W_INVALID_IDENTIFIER", text, remedy), forbids=not odd.is_mended)


def _share(wrong: Sequence[DicomFile], files: Sequence[DicomFile]) -> str:
    return f"{len(wrong)} of {len(files)} files" if len(files) > 1 else "the file"
