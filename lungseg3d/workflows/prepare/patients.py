"""Whose the CTs of a folder are: by its table, by their DICOM headers, else by their names, and which of these it was.

In: pairs of images and labels. Out: a patient for each, a sentence for the manifest, warnings. Identities of headers
are compared in memory and go nowhere: a patient that only a header names gets the name of its first image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from lungseg3d.core import QualityIssue
from lungseg3d.data import Pair, assumed_patients, join_patients
from lungseg3d.io import PatientHeader, read_patient

_BY_HEADER = "by the DICOM headers: one PatientID of one issuer, or one study, is one patient"
_OWN = "each image is taken for a patient of its own: neither a table nor a DICOM header says whose it is"
_SAY_IT = "If that is wrong, list the images in a CSV with the columns image, label and patient."
_MOST_SCANS = 9
_SHOWN = 3


def patients_of(pairs: Sequence[Pair], source: Path) -> tuple[list[str], str, tuple[QualityIssue, ...]]:
    """The patient of every pair.

    Args:
        pairs: of one data set.
        source: folder that their paths start from.

    Returns:
        The patients, in the order of the pairs; where they come from, for people; W_SAME_PATIENT where headers say that
        two patients of the table are one (they are joined), W_PATIENT_ASSUMED where names were taken apart.
    """
    headers = [read_patient(source / pair.image) for pair in pairs]
    names = _own_names(pairs)
    assumed = assumed_patients(names)
    found, rules = [], set()
    for pair, header, name, guess in zip(pairs, headers, names, assumed, strict=True):
        by_header = header is not None and header.is_known
        found.append(pair.patient or (name if by_header else guess))
        rules.add("table" if pair.patient else "header" if by_header else "name")
    same = [(i, j) for i, j in combinations(range(len(pairs)), 2) if _is_same(headers[i], headers[j])]
    joined = join_patients(found, same)
    remarks = [*_torn(pairs, joined), *(_grouped(names, joined) if "name" in rules else ())]
    texts = [text for rule, text in (("table", "as the table says"), ("header", _BY_HEADER)) if rule in rules]
    if "name" in rules:
        texts.append(remarks[-1].message if remarks and remarks[-1].code == "W_PATIENT_ASSUMED" else _OWN)
    return joined, "; ".join(texts).rstrip("."), tuple(remarks)


def _is_same(one: PatientHeader | None, other: PatientHeader | None) -> bool:
    return one is not None and other is not None and one.is_same(other)


def _own_names(pairs: Sequence[Pair]) -> list[str]:
    """What each image is called: its file's name; its folder's where file names repeat from folder to folder."""
    repeated = max(Counter(pair.name for pair in pairs).values(), default=0) > 1
    if not repeated:
        return [pair.name for pair in pairs]
    folders = [pair.image.parent.as_posix() for pair in pairs]
    if max(Counter(folders).values()) <= _MOST_SCANS and "." not in folders:
        return folders
    return [f"{folder}/{pair.name}" for folder, pair in zip(folders, pairs, strict=True)]


def _torn(pairs: Sequence[Pair], joined: Sequence[str]) -> list[QualityIssue]:
    """Patients of the table that headers join."""
    issues = []
    for pair, patient in zip(pairs, joined, strict=True):
        if pair.patient and pair.patient.casefold() != patient.casefold():
            text = f"{pair.name} is of {pair.patient} by the table, but of {patient} by its DICOM header"
            issues.append(QualityIssue("W_SAME_PATIENT", f"{text}; they are kept together.", "Mend the table."))
    return issues


def _grouped(names: Sequence[str], joined: Sequence[str]) -> list[QualityIssue]:
    sizes = Counter(joined)
    groups: dict[str, list[str]] = {}
    for name, patient in zip(names, joined, strict=True):
        if sizes[patient] > 1:
            groups.setdefault(patient, []).append(name)
    if not groups:
        return []
    patient, members = next(iter(groups.items()))
    shown = ", ".join(dict.fromkeys(members[:_SHOWN]))
    text = f"assumed from the names of {len(names)} images: {len(sizes)} patients, such as {patient} for {shown}."
    return [QualityIssue("W_PATIENT_ASSUMED", text, _SAY_IT)]
