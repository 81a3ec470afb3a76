"""Patients -> folds, the same on every machine; and proof that no patient is on two sides.

In: cases of a manifest. Out: cases with folds, or E_SPLIT_LEAK. Uses no random number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lungseg3d.core import LungSegError


def assign_folds(patients: Iterable[str], folds: int) -> dict[str, int]:
    """Each patient's fold, 0 to `folds` - 1: dealt out in the order of the SHA-256 of their names.

    Folds differ by one patient at most. All patients of a dataset must be given, also those whose cases are refused
    later, so that a refusal moves nobody.
    """
    order = sorted(set(patients), key=lambda patient: hashlib.sha256(patient.encode("utf-8")).digest())
    return {patient: number % folds for number, patient in enumerate(order)}


def check_split(cases: Sequence[Mapping[str, Any]], name: str, sides: Sequence[str] = ("fold", "split")) -> None:
    """Every patient has one fold and is on one side of the split.

    Args:
        cases: of a manifest, with `patient`, `fold`, `split` where they have them.
        name: of the manifest, for the message.
        sides: keys of a case that must be the same for all cases of a patient.

    Raises:
        LungSegError: E_SPLIT_LEAK with the patient and the two cases.
    """
    seen: dict[str, Mapping[str, Any]] = {}
    for case in cases:
        patient = case.get("patient")
        if patient is None:
            continue
        first = seen.setdefault(patient, case)
        for key in sides:
            if first.get(key) != case.get(key):
                raise LungSegError(
                    "E_SPLIT_LEAK",
                    f"{name}: patient {patient} is in {key} {first.get(key)} ({first['case_id']}) and in {key} "
                    f"{case.get(key)} ({case['case_id']}).",
                    "Put all cases of a patient on one side[, or let --folds=N assign folds by patient].",
                )
