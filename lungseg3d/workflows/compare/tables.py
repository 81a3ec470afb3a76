"""The records of a comparison -> its numbers: means with intervals, paired tests, CSV and JSON text.

In: records of members (`member.json`), done or failed. Out: the content of `compare.json` and rows of both CSV files.
Writes no file. Seeds are averaged for each case before anything else, and the unit of every interval and test is the
patient (where the records do not say whose a case is, the case).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lungseg3d.core import finite
from lungseg3d.metrics import LEAST_PATIENTS, holm, mean_of_patients, paired_test
from lungseg3d.metrics.size_groups import size_groups
from lungseg3d.report import csv_text

SCHEMA_VERSION = 1
METRICS = ("dice", "iou", "sensitivity", "ppv", "hd95_mm")
MEAN = "mean"
"""Name of the mean over structures, where a bundle has several."""
Cases = dict[str, dict[str, float]]
"""case id -> name of a value -> value, nan where it is not defined."""


def comparison_of(
    records: Sequence[Mapping[str, Any]], networks: Sequence[str], structures: Sequence[str], **facts: Any
) -> dict[str, Any]:
    """All numbers of a comparison.

    Args:
        records: of all members, in any order.
        networks: names, the reference first.
        structures: names of the foreground classes.
        **facts: further entries, such as bundle and training.

    Returns:
        What `compare.json` holds: `networks` (one entry for each network and structure: intervals of every metric,
        tests against the first network, cost), `cases` (per network, structure and case, seeds averaged),
        `size_groups` (of the last structure), `members`.
        A number that is not defined is None.
    """
    shown = [*structures, MEAN] if len(structures) > 1 else list(structures)
    by_case = {
        (network, structure): _seed_means(records, network, structure, structures)
        for network in networks
        for structure in shown
    }
    whose = patient_by_case(records)
    rows = []
    for structure in shown:
        tests = {metric: _tests(by_case, whose, networks, structure, metric) for metric in METRICS}
        for network in networks:
            cases = by_case[network, structure]
            row: dict[str, Any] = {"network": network, "structure": structure} | _cost(records, network)
            row |= {"cases": len(cases), "empty_predictions": _empty(records, network, structure, structures)}
            row |= {"seed_dice": _seed_dice(records, network, structure, structures)}
            for metric in METRICS:
                within = None if metric.endswith("_mm") else (0.0, 1.0)
                values = [case[metric] for case in cases.values()]
                interval = mean_of_patients(values, [whose[case_id] for case_id in cases], within=within)
                row[metric] = {"mean": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}
                row[metric]["test"] = tests[metric].get(network)
            rows.append(row)
    listed = [
        {"network": network, "structure": structure, "case_id": case_id, **values}
        for (network, structure), cases in by_case.items()
        for case_id, values in cases.items()
    ]
    of_last = [case for case in listed if case["structure"] == shown[-1]]
    groups = size_groups(of_last, whose, networks, "nodule" in shown[-1])
    members = [{key: value for key, value in record.items() if key not in ("cases", "settings")} for record in records]
    content = {"schema_version": SCHEMA_VERSION, "reference": networks[0], "structures": shown, **facts}
    content |= {"patients": len(set(whose.values())), "least_patients": LEAST_PATIENTS}
    content |= {"networks": rows, "size_groups": groups, "members": members, "cases": listed}
    summary: dict[str, Any] = finite(content)
    return summary


def patient_by_case(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Case id -> patient, as far as any record says; else the case's own id."""
    cases = [case for record in records for case in record.get("cases", [])]
    own = {case["case_id"]: case["case_id"] for case in cases}
    return own | {case["case_id"]: case["patient"] for case in cases if case.get("patient")}


def compare_csv(comparison: Mapping[str, Any]) -> str:
    """One row for each network and structure; what is not defined is an empty cell."""
    rows = []
    for row in comparison["networks"]:
        flat = {key: row[key] for key in ("network", "structure", "members_done", "members", "cases")}
        for metric in METRICS:
            values, test = row[metric], row[metric]["test"] or {}
            flat |= {metric: values["mean"], f"{metric}_low": values["low"], f"{metric}_high": values["high"]}
            flat |= {f"{metric}_n": values["n"]}
            flat |= {f"{metric}_{key}": test.get(key) for key in ("difference", "p", "p_holm")}
        flat |= {key: row[key] for key in ("empty_predictions", "steps", "parameters_m", "gflop_96", "inference_s")}
        rows.append(flat)
    return _csv(rows)


def cases_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """One row for each member, case and structure, nothing averaged; what is not defined is an empty cell."""
    rows = []
    for record in records:
        for case in record.get("cases", []):
            for structure, values in case["structures"].items():
                row = {key: record[key] for key in ("network", "fold", "seed")}
                row |= {"case_id": case["case_id"], "structure": structure, **values}
                rows.append(row | {"inference_s": case["inference_s"]})
    return _csv(rows)


def _seed_means(records: Sequence[Mapping[str, Any]], network: str, structure: str, structures: Sequence[str]) -> Cases:
    """Each case of one network and structure, averaged over seeds; a metric that one seed lacks over the others."""
    found: dict[str, list[dict[str, float]]] = {}
    for record in _done(records, network):
        for case in record["cases"]:
            found.setdefault(case["case_id"], []).append(_values(case, structure, structures))
    return {
        case_id: {key: _mean([values[key] for values in several]) for key in several[0]}
        for case_id, several in sorted(found.items())
    }


def _seed_dice(
    records: Sequence[Mapping[str, Any]], network: str, structure: str, structures: Sequence[str]
) -> dict[str, float]:
    """Mean Dice of each seed: how much another training matters."""
    found: dict[str, list[float]] = {}
    for record in _done(records, network):
        dices = [_values(case, structure, structures)["dice"] for case in record["cases"]]
        found.setdefault(str(record["seed"]), []).extend(dices)
    return {seed: float(np.mean(dices)) for seed, dices in found.items()}


def _values(case: Mapping[str, Any], structure: str, structures: Sequence[str]) -> dict[str, float]:
    """The numbers of one case; for `MEAN` over structures, nan where one of them is."""
    names = list(structures) if structure == MEAN else [structure]
    several = [{key: _number(value) for key, value in case["structures"][name].items()} for name in names]
    values = {key: float(np.mean([one[key] for one in several])) for key in METRICS}
    values["reference_mm3"] = sum(one["reference_mm3"] for one in several)
    values["diameter_mm"] = (6 * several[0]["reference_mm3"] / math.pi) ** (1 / 3) if len(several) == 1 else math.nan
    return values


def _tests(
    by_case: Mapping[tuple[str, str], Cases],
    whose: Mapping[str, str],
    networks: Sequence[str],
    structure: str,
    metric: str,
) -> dict[str, dict[str, float]]:
    """Every other network against the first, on the cases that both have, corrected by Holm for their number."""
    first = by_case[networks[0], structure]
    found = {}
    for network in networks[1:]:
        cases = by_case[network, structure]
        both = [case_id for case_id in first if case_id in cases]
        pairs = [cases[i][metric] for i in both], [first[i][metric] for i in both]
        found[network] = paired_test(*pairs, [whose[i] for i in both])
    corrected = holm([test.p for test in found.values()])
    return {
        network: {
            "difference": test.difference.mean,
            "low": test.difference.low,
            "high": test.difference.high,
            "n": test.difference.n,
            "p": test.p,
            "p_holm": p_holm,
        }
        for (network, test), p_holm in zip(found.items(), corrected, strict=True)
    }


def _cost(records: Sequence[Mapping[str, Any]], network: str) -> dict[str, Any]:
    """What a network costs; seconds and steps are the median over all cases of all members, and over the members."""
    all_of_it = [record for record in records if record["network"] == network]
    steps = [record["steps"] for record in all_of_it if record.get("steps")]
    done = _done(records, network)
    seconds = [case["inference_s"] for record in done for case in record["cases"]]
    return {
        "members": len(all_of_it),
        "members_done": len(done),
        "steps": round(float(np.median(steps))) if steps else None,
        "parameters_m": done[0]["parameters"] / 1e6 if done else math.nan,
        "gflop_96": _number(done[0]["gflop"]) if done else math.nan,
        "inference_s": float(np.median(seconds)) if seconds else math.nan,
    }


def _empty(records: Sequence[Mapping[str, Any]], network: str, structure: str, structures: Sequence[str]) -> int:
    """Predictions without a voxel although there is a reference, over all members."""
    names = list(structures) if structure == MEAN else [structure]
    found = [
        case["structures"][name] for record in _done(records, network) for case in record["cases"] for name in names
    ]
    return sum(values["predicted_mm3"] == 0 and values["reference_mm3"] > 0 for values in found)


def _done(records: Sequence[Mapping[str, Any]], network: str) -> list[Mapping[str, Any]]:
    return [record for record in records if record["network"] == network and record["status"] == "done"]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    columns = dict.fromkeys(key for row in rows for key in row)  # an older comparison may have fewer
    return csv_text(({key: _cell(value) for key, value in row.items()} for row in rows), list(columns))


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
