"""What makes a manifest unusable: one judgement for `prepare check`, `train` and `evaluate`.

In: a manifest's content, the folder of its data; labels as they are read. Out: `Fault`s. Reads headers and labels, but
no voxel of a CT.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from lungseg3d.core import LungSegError, QualityIssue, Volume
from lungseg3d.data import check_split, known_values, label_issues, label_structures, with_case
from lungseg3d.io import file_key, read_labels, read_patient

SIDES = ("fold", "split")
"""What must not tear a patient apart."""
_MOST_NAMED = 5


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: with a case, or with the whole manifest where `case_id` is empty."""

    case_id: str
    issue: QualityIssue

    @property
    def is_refusal(self) -> bool:
        """Whether the case, or the manifest, cannot be used."""
        return self.issue.code.startswith("E_")


def manifest_faults(content: Mapping[str, Any], root: Path, sides: Sequence[str] = SIDES) -> list[Fault]:
    """What is wrong with a manifest as a whole, and between its cases.

    Args:
        content: of the manifest.
        root: folder that its paths start from.
        sides: which of `SIDES` count: an evaluation of all cases learns nothing from any of them.

    Returns:
        E_MANIFEST for labels whose values nobody explains, E_SPLIT_LEAK for a patient on two sides, by the manifest or
        by the DICOM headers; of a case E_DUPLICATE_CASE when its image is an earlier case's file in another spelling,
        W_SAME_PATIENT when the headers join what the manifest lists as two patients.
    """
    cases, faults = content["cases"], []
    try:
        if any("label" in case["files"] for case in cases):
            label_structures(content)
        check_split(cases, content.get("name", "the manifest"), sides)
    except LungSegError as error:
        faults.append(Fault("", QualityIssue.of(error)))
    return [*faults, *_twins(cases, root), *_joined_by_headers(cases, root, sides)]


def refuse_faults(faults: Sequence[Fault], name: str) -> None:
    """Stop where a manifest cannot be used.

    Args:
        faults: of the manifest and its cases; warnings do not count.
        name: of the manifest.

    Raises:
        LungSegError: the first refusal, with the names of all cases that have one of the same kind.
    """
    refusals = [fault for fault in faults if fault.is_refusal]
    if not refusals:
        return
    first = refusals[0].issue
    others = [fault.case_id for fault in refusals[1:] if fault.issue.code == first.code]
    more = f" So do {len(others)} more cases: {_listed(others)}." if others else ""
    front = f"{name}: " if not first.message.startswith(name) else ""
    case = f"{refusals[0].case_id}: " if refusals[0].case_id else ""
    raise LungSegError(first.code, f"{front}{case}{first.message}{more}", first.remedy)


def reference_issues(label: Volume, content: Mapping[str, Any]) -> list[QualityIssue]:
    """What is wrong with a case's reference; see `lungseg3d.data.label_issues`.

    Raises:
        LungSegError: E_MANIFEST, as `label_structures`.
    """
    structures, known = label_structures(content), known_values(content)
    return label_issues("the label", label.array, structures, known, label.voxel_volume_mm3)


def label_faults(content: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> list[Fault]:
    """Read the labels of a data list and judge each as `reference_issues` does; one that cannot be read is a fault."""
    table = tuple(sorted((str(value), str(name)) for value, name in (content.get("structures") or {}).items()))
    words = (content.get("conventions") or {}).get("label")
    spoken = tuple(sorted(words.items())) if isinstance(words, Mapping) else ()
    wanted = [entry for entry in entries if "label" in entry]
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda entry: _issues_of_file(*_state(Path(entry["label"])), table, spoken), wanted)
    return [Fault(entry["case_id"], issue) for entry, issues in zip(wanted, found, strict=True) for issue in issues]


def joined_warnings(warnings: Sequence[Fault]) -> list[QualityIssue]:
    """One warning for each code: the first case's, and the names of the others."""
    by_code: dict[str, list[Fault]] = {}
    for fault in warnings:
        by_code.setdefault(fault.issue.code, []).append(fault)
    joined = []
    for code, faults in by_code.items():
        first = with_case(faults[0].issue, faults[0].case_id)
        others = list(dict.fromkeys(fault.case_id for fault in faults[1:]))
        more = f" The same holds for {len(others)} more: {_listed(others)}." if others else ""
        joined.append(QualityIssue(code, first.message + more, first.remedy))
    return joined


def _twins(cases: Sequence[Mapping[str, Any]], root: Path) -> Iterator[Fault]:
    seen: dict[tuple[object, ...], str] = {}
    for case in cases:
        if "image" not in case["files"]:
            continue
        first = seen.setdefault(file_key(root / case["files"]["image"]), case["case_id"])
        if first != case["case_id"]:
            text = f"its image is the file of {first}."
            remedy = "Take one out: twins in two folds are a leak, in one fold they count twice."
            yield Fault(case["case_id"], QualityIssue("E_DUPLICATE_CASE", text, remedy))


def _joined_by_headers(cases: Sequence[Mapping[str, Any]], root: Path, sides: Sequence[str]) -> Iterator[Fault]:
    headers = []
    for case in cases:
        if "image" in case["files"] and (header := read_patient(root / case["files"]["image"])) is not None:
            headers.append((case, header))
    for (one, header), (other, second) in combinations(headers, 2):
        names = [case.get("patient") or case["case_id"] for case in (one, other)]
        if names[0] == names[1] or not header.is_same(second):
            continue
        ids = f"{one['case_id']} and {other['case_id']}"
        torn = next((side for side in sides if one.get(side) != other.get(side)), None)
        if torn:
            where = f"in {torn} {one.get(torn)} and {other.get(torn)}"
            text = f"{ids} are of one patient by their DICOM headers, but {where}."
            yield Fault("", QualityIssue("E_SPLIT_LEAK", text, "Put all cases of a patient on one side."))
        else:
            text = f"of one patient with {one['case_id']} by their DICOM headers, but listed as another."
            remedy = "Give both the same patient: intervals and folds are by patient."
            yield Fault(other["case_id"], QualityIssue("W_SAME_PATIENT", text, remedy))


def _state(path: Path) -> tuple[Path, int, int]:
    """The file, and what changes with its content."""
    try:
        found = path.stat()
    except OSError:
        return path, 0, 0
    return path, found.st_size, found.st_mtime_ns


@functools.cache
def _issues_of_file(
    path: Path, _size: int, _mtime_ns: int, table: tuple[tuple[str, str], ...], spoken: tuple[tuple[str, str], ...]
) -> tuple[QualityIssue, ...]:
    """Kept for as long as the file stays: a comparison asks again for every network and fold."""
    try:
        meaning = {"structures": dict(table), "conventions": {"label": dict(spoken)}}
        return tuple(reference_issues(read_labels(path), meaning))
    except LungSegError as error:
        return (QualityIssue.of(error),)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
