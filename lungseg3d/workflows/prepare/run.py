"""`prepare`: a public dataset as it was downloaded -> a manifest, and label files where they must be made.

In: the cases that a dataset's own module found. Out: `OUT/manifest.json`, `OUT/labels/`, and `OUT/source`, a link to
where the images lie. One bad case is listed with its reason and never stops the others.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lungseg3d
from lungseg3d.core import LungSegError, OutputError, QualityIssue, to_json
from lungseg3d.core.errors import fault_of
from lungseg3d.core.progress import OnProgress
from lungseg3d.data import MANIFEST_NAME, Dataset, assign_folds, check_split, manifest_text
from lungseg3d.io import (
    ReadOptions,
    case_id_of,
    check_writable,
    left_links,
    link_rule,
    link_to,
    links_text,
    sha256_of,
    write_text,
)
from lungseg3d.workflows.prepare.reading import read_options_facts

logger = logging.getLogger(__name__)

SHA256_RULE = (
    "of a folder, or of an .mhd with its .raw: SHA-256 of the list of its files as sha256sum prints it, names relative "
    "and sorted"
)


@dataclass(frozen=True)
class MadeCase:
    """What preparing one case gave.

    Attributes:
        files: role (`image`, `label`, `ignore`, ...) -> path, under the source or under the folder of labels.
        facts: what the dataset knows about the case, JSON-able.
        issues: what a user of the case must know.
    """

    files: Mapping[str, Path]
    facts: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[QualityIssue, ...] = ()


@dataclass(frozen=True)
class FoundCase:
    """One case as it lies in the source, not yet read.

    Attributes:
        name: the dataset's own name of the case.
        patient: pseudonym as the dataset has it.
        make: folder for labels, case id -> the case, made.
        fold, split: where the dataset gives them.
    """

    name: str
    patient: str
    make: Callable[[Path, str], MadeCase]
    fold: int | None = None
    split: str | None = None


@dataclass(frozen=True)
class FoundDataset:
    """A dataset as it lies in the source.

    Attributes:
        dataset: its row.
        conventions: for people, as the manifest states them.
        cases: in the order of the manifest.
        structures: value in the label files -> name in `core.labels`; empty where nobody knows.
        ignore_margin_voxels: by how much an evaluation widens the regions to be ignored.
        remarks: what whoever prepares it must know of the whole dataset.
    """

    dataset: Dataset
    conventions: Mapping[str, Any]
    cases: Sequence[FoundCase]
    structures: Mapping[int, str] = field(default_factory=dict)
    ignore_margin_voxels: int = 0
    remarks: Sequence[QualityIssue] = ()


@dataclass(frozen=True)
class Prepared:
    """What preparing came to.

    Attributes:
        manifest: its path.
        content: of the manifest.
        statuses: of every case found, `done` or `refused`.
        remarks: warnings about the whole dataset.
    """

    manifest: Path
    content: Mapping[str, Any]
    statuses: tuple[str, ...]
    remarks: tuple[QualityIssue, ...] = ()


def prepare(
    found: FoundDataset,
    source: Path,
    out: Path,
    *,
    folds: int | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    on_progress: OnProgress | None = None,
) -> Prepared:
    """Make every case and write the manifest. The same source gives the same bytes.

    Args:
        found: the dataset, as its module found it under `source`.
        source: the dataset's folder; nothing is written there.
        out: folder to write; made when absent. It is the `dataset_dir` of the manifest.
        folds: number of folds to deal patients into; None keeps those of the dataset, and gives none where it has none.
        read: how the CTs are read; what is not as by default stands in the manifest.
        on_progress: called with (dataset, case, fraction done).

    Raises:
        LungSegError: E_NO_CASES; E_SPLIT_LEAK when the dataset's own folds tear a patient apart.
        OutputError: E_WRITE, E_NO_SPACE; E_OUTPUT_EXISTS when `out/source` links elsewhere.
    """
    dataset = found.dataset
    links = _links_left(source, read)
    if not found.cases:
        raise LungSegError(
            "E_NO_CASES",
            f"{source}: no case of {dataset.name}; expected {dataset.looks_like}.",
            " ".join((dataset.how_to_get, *(f"{link.message} {link.remedy}" for link in links))).strip(),
        )
    _make_folders(source, out)
    dealt = assign_folds((case.patient for case in found.cases), folds) if folds else {}
    cases: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    taken: list[str] = []
    for number, case in enumerate(found.cases):
        case_id = case_id_of(Path("/" + case.name + ".nii"), taken=taken)
        taken.append(case_id)
        if on_progress:
            on_progress(dataset.name, case_id, number / len(found.cases))
        try:
            made = case.make(out / "labels", case_id)
            cases.append(_entry(case_id, case, made, dealt, source, out))
        except OutputError:
            raise  # a full disk is full for every case
        except LungSegError as error:
            refused.append(
                {"case_id": case_id, "code": error.code, "reason": f"{error.message} {error.remedy}".strip()}
            )
        except Exception as error:  # one case, whatever is wrong with it, never stops the others
            logger.debug("%s failed", case_id, exc_info=True)
            refused.append({"case_id": case_id, "code": "E_FAILED", "reason": fault_of(error)})
    if on_progress:
        on_progress(dataset.name, "manifest", 1.0)
    check_split(cases, dataset.name)
    content: dict[str, Any] = {
        "name": dataset.name,
        "source": dataset.source,
        "licence": dataset.licence,
        "prepared_by": f"lungseg3d {lungseg3d.__version__}",
        "conventions": {**found.conventions, "sha256": SHA256_RULE, **_fold_rule(folds)},
        **({"structures": {str(v): name for v, name in found.structures.items()}} if found.structures else {}),
        **({"ignore_margin_voxels": found.ignore_margin_voxels} if found.ignore_margin_voxels else {}),
        **({"reading": changed} if (changed := read_options_facts(read)) else {}),
        "cases": cases,
        **({"refused": refused} if refused else {}),
    }
    path = out / MANIFEST_NAME
    write_text(path, manifest_text(content))
    statuses = ("done",) * len(cases) + ("refused",) * len(refused)
    return Prepared(path, content, statuses, (*found.remarks, *links))


def _links_left(source: Path, read: ReadOptions) -> tuple[QualityIssue, ...]:
    """What is to be said of the links in the source that are not followed; nothing where there are none."""
    left = left_links(source, link_rule(source, read))
    found, remedy = links_text(left, source)
    return (QualityIssue("W_LINK_NOT_FOLLOWED", f"{found}.", remedy),) if left else ()


def _make_folders(source: Path, out: Path) -> None:
    link, target = out / "source", source.resolve()
    check_writable(out / "labels")
    link_to(target, link)
    if link.resolve() != target:
        raise OutputError(
            "E_OUTPUT_EXISTS", f"{link}: leads to {link.resolve()}, not to {target}.", "Give another OUT, or remove it."
        )


def _entry(
    case_id: str, case: FoundCase, made: MadeCase, dealt: Mapping[str, int], source: Path, out: Path
) -> dict[str, Any]:
    fold = dealt.get(case.patient, case.fold)
    return {
        "case_id": case_id,
        "patient": case.patient,
        **({} if fold is None else {"fold": fold}),
        **({} if case.split is None else {"split": case.split}),
        "files": {role: _relative(path, source, out) for role, path in made.files.items()},
        "sha256": {role: sha256_of(path) for role, path in made.files.items()},
        **({"facts": to_json(dict(made.facts))} if made.facts else {}),
        **({"issues": [f"{issue.code}: {issue.message}" for issue in made.issues]} if made.issues else {}),
    }


def _relative(path: Path, source: Path, out: Path) -> str:
    """A path from `out`: through the link `source`, so that the manifest is the same wherever the two lie."""
    for root, front in ((out, Path()), (source, Path("source"))):
        absolute, top = Path(os.path.abspath(path)), Path(os.path.abspath(root))
        if absolute.is_relative_to(top):
            return (front / absolute.relative_to(top)).as_posix()
    raise LungSegError(
        "E_MISSING_DATA", f"{path} lies neither in {source} nor in {out}.", "Move it into the dataset's folder."
    )


def _fold_rule(folds: int | None) -> dict[str, str]:
    return {"fold": f"{folds} folds, patients dealt out in the order of the SHA-256 of their names"} if folds else {}
