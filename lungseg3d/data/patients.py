"""Whose CTs they are: names of files -> patients, where no table and no header says so.

In: names or relative paths of images, pairs known to be of one patient. Out: a patient for each. Opens no file.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

_TIME_WORD = (
    r"t|tp|tm|time|time-?point|ses|session|v|visit|fu|follow-?up|bl|baseline|prior|current|pre|post|"
    r"year|yr|y|month|m|week|w|day|d|insp|exp|inspiration|expiration"
)
_TIME = re.compile(rf"[_\-./ ](?:(?:{_TIME_WORD})[_-]?\d{{0,3}}|(?:19|20)\d\d[-_]?\d\d[-_]?\d\d)$", re.IGNORECASE)
# These count scans of a hospital as often as those of a patient: only behind a name with a number of its own.
_SCAN = re.compile(r"(?<=\d)[_\-./ ](?:ct|scan|exam|study|series|se|s)[_-]?\d{0,3}$", re.IGNORECASE)
_BIDS = re.compile(r"^(sub-[A-Za-z0-9]+)[_/]", re.IGNORECASE)
_NUMBER = re.compile(r"[_\-./ ]\d{1,2}$")
_MOST_SCANS = 9


def assumed_patients(names: Sequence[str]) -> list[str]:
    """The patient that each name seems to be of: the name without its time point.

    `P08_t0` and `P08_t1` are P08, `sub-01_ses-2_ct` is sub-01, `p3/baseline` is p3, `17_20240131` is 17. A bare number
    of one or two digits counts as a time point behind a name that has a number itself (`P08_1`, `P08_2`), and only
    where this gives nobody more than nine scans: `lung_001` and `lung_002` are two patients.

    Args:
        names: of all images, without ending; paths relative to the data set where names alone repeat.
    """
    found = [_without_time(name) for name in names]
    bare = [_NUMBER.sub("", name) for name in found]
    numbered = [bool(re.search(r"\d", stem)) and stem != name for stem, name in zip(bare, found, strict=True)]
    sizes = Counter(stem for stem, is_numbered in zip(bare, numbered, strict=True) if is_numbered)
    is_plausible = bool(sizes) and max(sizes.values()) <= _MOST_SCANS and len(set(bare)) > 1
    if is_plausible:
        found = [stem if is_numbered else name for stem, name, is_numbered in zip(bare, found, numbered, strict=True)]
    # A name that all share, without a number, or that many share, is a data set's and no patient's.
    is_one = len(names) > 1 and len(set(found)) == 1 and not re.search(r"\d", found[0])
    is_many = max(Counter(found).values(), default=0) > _MOST_SCANS
    return list(names) if is_one or is_many else found


def join_patients(patients: Sequence[str], same: Iterable[tuple[int, int]]) -> list[str]:
    """The patients of cases after some of them were found to be of one patient; the first case gives the name.

    Args:
        patients: of each case; equal ones, upper and lower case counted as equal, are one.
        same: pairs of positions that are of one patient.
    """
    parents = list(range(len(patients)))

    def root(place: int) -> int:
        while parents[place] != place:
            place = parents[place]
        return place

    by_name: dict[str, list[int]] = defaultdict(list)
    for place, patient in enumerate(patients):
        by_name[patient.casefold()].append(place)
    links = [(places[0], place) for places in by_name.values() for place in places[1:]]
    for one, other in (*links, *same):
        first, second = sorted((root(one), root(other)))
        parents[second] = first
    return [patients[root(place)] for place in range(len(patients))]


def _without_time(name: str) -> str:
    bids = _BIDS.match(name)
    if bids:
        return bids[1]
    shorter = _SCAN.sub("", _TIME.sub("", name))
    while shorter and shorter != name:
        name, shorter = shorter, _SCAN.sub("", _TIME.sub("", shorter))
    return name
