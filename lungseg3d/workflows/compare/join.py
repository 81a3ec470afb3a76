"""Members that another comparison has measured: folds and seeds done at another time or on another machine.

In: the folder of that comparison with its `compare.json` and `cases.csv`. Out: records as `run_members` gives them.
Weights are not asked for: what has been measured counts. That the same program made both is for the caller to know.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lungseg3d.core import UsageError
from lungseg3d.workflows.compare.plan import Member, member_name
from lungseg3d.workflows.compare.tables import MEAN

_ALIKE = ("bundle", "structures", "training", "overrides", "weights", "minutes")
"""What must be the same of comparisons in one table."""
_PLACES = ("cache_dir", "dataset_dir", "nodule_dir")
"""Overrides that only say where files lie."""
_NAMES = ("network", "structure", "case_id")


def measured_before(
    members: Sequence[Member], facts: Mapping[str, Any], folders: Sequence[Path]
) -> dict[str, Mapping[str, Any]]:
    """Records of those members that other comparisons have measured, by the members' names.

    Args:
        members: of the comparison; others are left where they are.
        facts: of it, as `compare.json` has them: bundle, structures, training, overrides, weights, minutes.
        folders: of the others.

    Raises:
        UsageError: E_NOT_A_COMPARISON when a folder holds none; E_NOT_ALIKE when it was made under other conditions or
            measured other cases; E_MEMBER_TWICE when two folders say different things of one member.
    """
    wanted = {member.name: member for member in members}
    found: dict[str, Mapping[str, Any]] = {}
    for folder in map(Path, folders):
        earlier, records = _read(folder)
        _check_alike(folder, earlier, facts)
        for record in records:
            name = member_name(record["network"], record["fold"], record["seed"])
            if name not in wanted or record["status"] != "done":
                continue
            _check_cases(folder, record, wanted[name])
            if name in found and found[name]["cases"] != record["cases"]:
                text = f"{name} was measured in {folder} and in another of the comparisons, with other results"
                raise UsageError("E_MEMBER_TWICE", text, "Join only one of them.")
            found[name] = record
    return found


def _read(folder: Path) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    try:
        content = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
        cases = _cases((folder / "cases.csv").read_text(encoding="utf-8"))
        members = [dict(member) for member in content["members"]]
        for member in members:
            if member["status"] == "done":
                member["cases"] = cases[member["network"], member["fold"], member["seed"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "E_NOT_A_COMPARISON",
            f"{folder} holds no whole comparison ({type(error).__name__}: {error})",
            "Name a folder with the compare.json and cases.csv of `lungseg3d compare`.",
        ) from error
    return content, members


def _cases(text: str) -> dict[tuple[str, int | None, int], list[dict[str, Any]]]:
    """Network, fold and seed -> its cases as `member.json` has them."""
    found: dict[tuple[str, int | None, int], dict[str, dict[str, Any]]] = {}
    for row in csv.DictReader(text.splitlines()):
        member = row["network"], int(row["fold"]) if row["fold"] else None, int(row["seed"])
        case = found.setdefault(member, {}).setdefault(
            row["case_id"], {"case_id": row["case_id"], "inference_s": float(row["inference_s"]), "structures": {}}
        )
        case["structures"][row["structure"]] = dict(_values(row))
    return {member: list(cases.values()) for member, cases in found.items()}


def _values(row: Mapping[str, str]) -> Iterator[tuple[str, float | None]]:
    for key, value in row.items():
        if key not in (*_NAMES, "fold", "seed", "inference_s"):
            yield key, float(value) if value else None


def _check_alike(folder: Path, earlier: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    theirs, ours = _conditions(earlier), _conditions(facts)
    for key in _ALIKE:
        if theirs[key] != ours[key]:
            text = f"{folder} was made with {key} {theirs[key]!r}, this comparison with {ours[key]!r}"
            raise UsageError("E_NOT_ALIKE", text, "Only comparisons under the same conditions go into one table.")


def _check_cases(folder: Path, record: Mapping[str, Any], member: Member) -> None:
    theirs, ours = sorted(case["case_id"] for case in record["cases"]), sorted(member.settings["cases"])
    if theirs != ours:
        text = f"{folder} measured {member.name} on {len(theirs)} other cases than the {len(ours)} of this comparison"
        raise UsageError("E_NOT_ALIKE", text, "Only comparisons of the same manifest and folds go into one table.")


def _conditions(facts: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: facts.get(key) for key in _ALIKE}
    overrides = {key: value for key, value in (facts.get("overrides") or {}).items() if key not in _PLACES}
    structures = [name for name in facts.get("structures") or () if name != MEAN]
    return found | {"overrides": overrides, "structures": structures}
