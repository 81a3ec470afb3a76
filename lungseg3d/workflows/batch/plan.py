"""SOURCE -> the cases of a batch, each with a key that stays the same from run to run.

In: a folder tree, a manifest, a CSV, or one CT. Out: `BatchPlan`. Reads no pixel. The key, not the path, goes into the
journal: folders of a hospital's disk are named after patients.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lungseg3d.core import LungSegError, UsageError
from lungseg3d.data import read_csv, read_manifest
from lungseg3d.io import CaseNames, CaseSource, file_key, find_cases, is_case_name

RESERVED_NAMES = ("index.html", "summary.csv", "summary.json", "journal.db", "set-aside", "mlruns", "mlruns.db")
"""Names in the output folder that are no cases."""
_IMAGE_COLUMNS = ("image", "input", "path", "file")


@dataclass(frozen=True)
class Selection:
    """Which CTs a batch is about.

    Attributes:
        source: a folder tree, a manifest (`.json`, or a shipped one's name), a `.csv`, or one CT.
        data: folder that the paths of a manifest or CSV start from; None takes the folder that it lies in.
        every_series: in a tree, each CT series of a study is a case instead of the study's best one.
        follow_links: in a tree, also links that lead out of it.
    """

    source: str
    data: Path | None = None
    every_series: bool = False
    follow_links: bool = False


@dataclass(frozen=True)
class PlannedCase:
    """One case: where it is read, what it is known by, and the name of its results (empty: not named yet)."""

    source: CaseSource
    key: str
    case_id: str = ""


@dataclass(frozen=True)
class BatchPlan:
    """The cases of a batch.

    Attributes:
        cases: in the order of the source, each with its own case id.
        ignored: files of a tree that are none of any case.
    """

    cases: tuple[PlannedCase, ...]
    ignored: int = 0

    def name_cases(self, known: Mapping[str, str]) -> BatchPlan:
        """The plan with a case id for every case: the one that its key had before, else a new one.

        Args:
            known: case id of every key that the journal knows.

        Raises:
            LungSegError: E_DUPLICATE_CASE when a name that the source gives belongs to another case already.
        """
        names = CaseNames([*RESERVED_NAMES, *known.values(), *(case.case_id for case in self.cases)])
        owners = {case_id.lower(): key for key, case_id in known.items()}
        named = []
        for case in self.cases:
            owner = owners.get(case.case_id.lower(), case.key)
            if case.case_id and owner != case.key:
                raise _duplicate(case.case_id, "the journal has another input under this name")
            case_id = case.case_id or known.get(case.key) or names.name(case.source.path)
            named.append(PlannedCase(case.source, case.key, case_id))
        return BatchPlan(tuple(named), self.ignored)


def plan_batch(selection: Selection, leave_out: Path, on_files: Callable[[int], object] | None = None) -> BatchPlan:
    """Find the cases of a source.

    Args:
        selection: what was asked for.
        leave_out: the folder of the results, which is no input even where it lies inside the source.
        on_files: called now and then with the number of files of a tree that were looked at.

    Raises:
        UsageError: E_NO_SOURCE when there is no such file, folder or manifest.
        LungSegError: E_MANIFEST, E_BAD_CSV, E_DUPLICATE_CASE.
    """
    source = Path(selection.source)
    kind = source.suffix.lower()
    if kind == ".csv" and source.is_file():
        return BatchPlan(_each_once(_of_csv(source, selection.data or source.parent), source.name))
    if kind == ".json" and source.is_file():
        return BatchPlan(_each_once(_of_manifest(selection.source, selection.data or source.parent), source.name))
    if source.exists():
        tree = find_cases(source, selection.every_series, leave_out, on_files, selection.follow_links)
        root = source if source.is_dir() else source.parent
        keys = (_key(found.path.relative_to(root).as_posix(), found.study, found.series) for found in tree.sources)
        return BatchPlan(tuple(map(PlannedCase, tree.sources, keys)), tree.ignored)
    if selection.data is not None:
        return BatchPlan(_each_once(_of_manifest(selection.source, selection.data), source.name))
    raise UsageError(
        "E_NO_SOURCE",
        f"{source.name}: there is no such file or folder.",
        "Give a folder, a manifest, a CSV with a column image, or a shipped manifest's name with --data.",
    )


def _of_manifest(name: str, data: Path) -> Iterator[PlannedCase]:
    cases = read_manifest(name)["cases"]
    _check_names(case["case_id"] for case in cases)
    for case in cases:
        if "image" not in case["files"]:
            raise LungSegError("E_MANIFEST", f"{case['case_id']}: no image in its files.", "Name the CT's file.")
        yield _named_case(case["case_id"], CaseSource(data / case["files"]["image"]))


def _of_csv(path: Path, data: Path) -> Iterator[PlannedCase]:
    """Columns: image (a path), and where there are such case_id, study and series (UIDs in the image's folder)."""
    try:
        columns, rows = read_csv(path)
    except (csv.Error, UnicodeDecodeError) as error:
        raise LungSegError("E_BAD_CSV", f"{path.name}: {error}.", "Save it as CSV in UTF-8.") from error
    column = next((name for name in _IMAGE_COLUMNS if rows and name in rows[0]), None)
    if column is None:
        named = f"no column named image, but {', '.join(columns)[:200]}"
        text = f"{path.name}: {named if rows else 'no row below the first line'}."
        raise LungSegError("E_BAD_CSV", text, "Its first line names the columns: image, and perhaps case_id.")
    _check_names(row["case_id"] for row in rows if row.get("case_id"))
    for number, row in enumerate(rows, start=2):
        if not row[column]:
            raise LungSegError("E_BAD_CSV", f"{path.name}: line {number} has no {column}.", "Fill it, or take it out.")
        found = CaseSource(data / row[column], row.get("study") or "", row.get("series") or "")
        if row.get("case_id"):
            yield _named_case(row["case_id"], found)
        else:
            yield PlannedCase(found, _key(os.path.normpath(row[column]), found.study, found.series))


def _each_once(cases: Iterable[PlannedCase], name: str) -> tuple[PlannedCase, ...]:
    """The cases of a list; one input in two spellings, or under two case ids, would be done and counted twice."""
    listed = tuple(cases)
    seen: dict[tuple[object, ...], int] = {}
    for number, case in enumerate(listed, start=1):
        first = seen.setdefault((*file_key(case.source.path), case.source.study, case.source.series), number)
        if first != number:
            both = " and ".join(one.case_id or one.source.path.name for one in (listed[first - 1], case))
            text = f"{name} lists the same input twice: its cases {first} and {number} ({both}) are one file or folder."
            raise LungSegError("E_DUPLICATE_CASE", text, "Take one of them out.")
    return listed


def _named_case(case_id: str, source: CaseSource) -> PlannedCase:
    return PlannedCase(source, _key("case", case_id), case_id)


def _check_names(case_ids: Iterable[str]) -> None:
    seen = {name.lower() for name in RESERVED_NAMES}
    for case_id in case_ids:
        if not is_case_name(case_id):
            text = f"case id {case_id!r}: 1 to 80 letters, digits, '.', '_' and '-' are expected."
            raise LungSegError("E_MANIFEST", text, "Mend the list of cases.")
        if case_id.lower() in seen:
            raise _duplicate(case_id, "this name is in the list twice, or is a file of the batch itself")
        seen.add(case_id.lower())


def _duplicate(case_id: str, why: str) -> LungSegError:
    return LungSegError("E_DUPLICATE_CASE", f"{case_id}: {why}.", "Give every case a name of its own.")


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
