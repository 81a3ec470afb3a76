"""What weights were trained on, kept beside them; and whether a case to be measured is among it.

In: manifests and the cases a training used; later, cases of an evaluation. Out: a record for the bundle, `SeenCase`s.
Opens the record only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungseg3d.core import LungSegError, QualityIssue, json_text

TRAINING_CASES = "configs/training_cases.json"
"""Where a bundle keeps the record."""
_MOST_NAMED = 5


@dataclass(frozen=True)
class SeenCase:
    """A case to be measured that the weights have seen, and by what that is known: `image`, `series` or `patient`."""

    case_id: str
    by: str
    trained_as: str


def training_record(used: Iterable[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]) -> dict[str, Any]:
    """The record of a training.

    Args:
        used: (manifest, its cases that were trained on), for each data set; cases that chose a checkpoint count, too.

    Returns:
        What `training_text` writes and `trained_on` takes: for each data set its name, source and licence, for each
        case its id, patient (and the names that other data sets have for it), series and the SHA-256 of its image, as
        far as the manifest has them.
    """
    datasets = []
    for manifest, cases in used:
        about = {key: manifest[key] for key in ("name", "source", "licence") if key in manifest}
        datasets.append({**about, "cases": [_identity(case) for case in cases]})
    return {"datasets": datasets}


def training_text(record: Mapping[str, Any]) -> str:
    """The record as it is written: the same training gives the same bytes."""
    return json_text(record)


def read_training_record(bundle: Path | str) -> dict[str, Any] | None:
    """The record of a bundle's folder, of a `metadata.json` with the key `training_data`, or of the file itself.

    Returns:
        None where the bundle does not say what it was trained on.

    Raises:
        LungSegError: E_TRAINING_RECORD when there is one that cannot be read.
    """
    path = Path(bundle)
    places = [path / TRAINING_CASES, path / "configs" / "metadata.json"] if path.is_dir() else [path]
    for place in (place for place in places if place.is_file()):
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
            content = content.get("training_data") if place.name == "metadata.json" else content
            if content is not None:
                _check(content)
                record: dict[str, Any] = content
                return record
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            text = f"{place}: no record of training cases ({type(error).__name__}: {error})."
            raise LungSegError("E_TRAINING_RECORD", text, "Write it again with the training, or remove it.") from error
    return None


def trained_on(
    record: Mapping[str, Any] | Path | str | None, cases: Sequence[Mapping[str, Any]], dataset: str = ""
) -> list[SeenCase]:
    """The cases that the weights have seen in training.

    The same image or the same series counts whatever the data sets are called: LUNA16's scans are series of LIDC-IDRI.
    The same patient counts within a data set of the same name, since `case-001` is somebody else elsewhere; and where
    `known_as` of either says what that data set calls the patient.

    Args:
        record: as `training_record` makes it, or a bundle; None is no record, and nothing was seen.
        cases: to be measured, as in a manifest.
        dataset: name of their manifest.

    Raises:
        LungSegError: E_TRAINING_RECORD.
    """
    known = read_training_record(record) if isinstance(record, (str, Path)) else record
    seen: dict[tuple[str, str], str] = {}
    for data in (known or {}).get("datasets", ()):
        for case in data["cases"]:
            for key in _keys(case, data.get("name", "")):
                seen.setdefault(key, case.get("case_id", ""))
    found = []
    for case in cases:
        hit = next((key for key in _keys(_identity(case), dataset) if key in seen), None)
        if hit:
            found.append(SeenCase(str(case["case_id"]), hit[0], seen[hit]))
    return found


def trained_on_issue(seen: Sequence[SeenCase], measured: int) -> QualityIssue | None:
    """One warning for all of them, W_TRAINED_ON; None when there are none."""
    if not seen:
        return None
    names = ", ".join(f"{case.case_id} (same {case.by})" for case in seen[:_MOST_NAMED])
    more = f" and {len(seen) - _MOST_NAMED} more" if len(seen) > _MOST_NAMED else ""
    text = f"the weights were trained on {len(seen)} of the {measured} cases: {names}{more}."
    return QualityIssue("W_TRAINED_ON", text, "Measure on cases of other patients; these numbers are too good.")


def _identity(case: Mapping[str, Any]) -> dict[str, Any]:
    image, series = (case.get("sha256") or {}), (case.get("facts") or {})
    image_sum = image.get("image") if isinstance(image, Mapping) else image
    found = {
        "case_id": case.get("case_id"),
        "patient": case.get("patient"),
        "series": series.get("series_uid"),
        "sha256": image_sum,
    }
    identity: dict[str, Any] = {key: str(value) for key, value in found.items() if value}
    return identity | ({"known_as": dict(case["known_as"])} if case.get("known_as") else {})


def _keys(identity: Mapping[str, Any], dataset: str) -> list[tuple[str, str]]:
    """Ways to recognise a case, the surest first."""
    keys = [("image", identity.get("sha256", "")), ("series", identity.get("series", ""))]
    keys = [key for key in keys if key[1]]
    names = {**identity.get("known_as", {}), **({dataset: identity["patient"]} if identity.get("patient") else {})}
    return keys + [("patient", f"{there}\0{patient}") for there, patient in names.items()]


def _check(content: Any) -> None:
    for data in content["datasets"]:
        for case in data["cases"]:
            names = case.get("known_as", {})
            texts = [value for key, value in case.items() if key != "known_as"]
            if not all(isinstance(value, str) for value in (*texts, *names.values())):
                raise TypeError("a field of a case is no text")
