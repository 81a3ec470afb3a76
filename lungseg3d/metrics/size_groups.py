"""Cases by the size of their reference: where a network is better, and where it is not.

In: cases of a comparison, seeds averaged. Out: groups of cases with the mean Dice of each network and its interval.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lungseg3d.metrics import mean_of_patients

NODULE_EDGES_MM = (6.0, 8.0, 15.0)
"""Diameters at which the Fleischner Society's advice changes (MacMahon et al. 2017, Radiology 284:228), and 15 mm."""
_FEWEST = 6
"""Fewer cases than this are not divided into thirds."""


def size_groups(
    cases: Sequence[Mapping[str, Any]], whose: Mapping[str, str], networks: Sequence[str], is_nodule: bool
) -> list[dict[str, Any]]:
    """Groups from small to large, those without a case left out.

    Args:
        cases: `network`, `case_id`, `dice`, `diameter_mm` and `reference_mm3` each, of one structure.
        whose: case id -> patient.
        networks: names, in the order of the answer.
        is_nodule: group by the diameter of the sphere of the reference's volume, at `NODULE_EDGES_MM`; otherwise by
            thirds of the reference's volume in ml.

    Returns:
        `low` and `high` (None where open; a case at `low` is inside), `unit`, `case_ids`, and `networks`: name, mean
        Dice, its 95 % interval and n.
    """
    sizes = {case["case_id"]: case["diameter_mm"] if is_nodule else case["reference_mm3"] / 1000 for case in cases}
    edges = (-math.inf, *(NODULE_EDGES_MM if is_nodule else _thirds(sizes.values())), math.inf)
    groups = []
    for low, high in itertools.pairwise(edges):
        inside = sorted(case_id for case_id, size in sizes.items() if low <= size < high)
        if not inside:
            continue
        means = []
        for network in networks:
            found = [case for case in cases if case["network"] == network and case["case_id"] in inside]
            patients = [whose[case["case_id"]] for case in found]
            interval = mean_of_patients([case["dice"] for case in found], patients, within=(0.0, 1.0))
            means.append({"network": network, "mean": interval.mean, "low": interval.low, "high": interval.high})
            means[-1]["n"] = interval.n
        ends = {"low": None if math.isinf(low) else low, "high": None if math.isinf(high) else high}
        groups.append(ends | {"unit": "mm" if is_nodule else "ml", "case_ids": inside, "networks": means})
    return groups


def _thirds(sizes: Any) -> tuple[float, ...]:
    ordered = sorted(sizes)
    if len(ordered) < _FEWEST:
        return ()
    return tuple(dict.fromkeys(ordered[len(ordered) * i // 3] for i in (1, 2)))
