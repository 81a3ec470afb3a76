"""The numbers of a comparison: seeds averaged first, cases counted, what is not defined left out and said."""

from __future__ import annotations

import csv
import io
import math

import pytest

from lungseg3d.metrics.size_groups import size_groups
from lungseg3d.workflows.compare.tables import cases_csv, compare_csv, comparison_of


def case(case_id: str, seconds: float = 1.0, **structures: float | None) -> dict:
    """A measured case; a structure's Dice d stands for all: IoU d/2, HD95 10 d mm, None for an empty prediction."""
    found = {}
    for name, d in structures.items():
        values = {"dice": d or 0.0, "iou": (d or 0.0) / 2, "sensitivity": d or 0.0, "ppv": d}
        values |= {"hd95_mm": None if d is None else 10 * d}
        found[name] = values | {"reference_mm3": 1000.0, "predicted_mm3": 0.0 if d is None else 900.0}
    return {"case_id": case_id, "inference_s": seconds, "structures": found}


def record(network: str, seed: int, cases: list[dict], fold: int | None = 0, **more: object) -> dict:
    base = {"network": network, "fold": fold, "seed": seed, "status": "done", "settings": {"secret": 1}}
    return base | {"parameters": 1_500_000, "gflop": 12.5, "cases": cases} | more


def own_patients(cases: list[dict]) -> dict[str, str]:
    return {case["case_id"]: case["case_id"] for case in cases}


def failed(network: str, seed: int) -> dict:
    return {"network": network, "fold": 0, "seed": seed, "status": "failed", "reason": "training: exit code 5"}


def test_seeds_are_averaged_for_each_case_so_that_cases_are_counted():
    records = [
        record("a", 1, [case("x", nodule=0.8), case("y", nodule=0.6)]),
        record("a", 2, [case("x", nodule=0.6), case("y", nodule=0.2)]),
    ]
    content = comparison_of(records, ["a"], ["nodule"])
    (row,) = content["networks"]
    assert [(c["case_id"], pytest.approx(c["dice"])) for c in content["cases"]] == [("x", 0.7), ("y", 0.4)]
    assert row["dice"]["mean"] == pytest.approx(0.55)
    assert row["seed_dice"] == {"1": pytest.approx(0.7), "2": pytest.approx(0.4)}
    assert (row["dice"]["n"], row["cases"], row["members"], row["members_done"]) == (2, 2, 2, 2)
    assert (row["parameters_m"], row["gflop_96"]) == (1.5, 12.5)
    assert row["dice"]["test"] is None


def test_folds_are_put_together():
    records = [record("a", 1, [case("x", nodule=0.8)], fold=0), record("a", 1, [case("y", nodule=0.4)], fold=1)]
    (row,) = comparison_of(records, ["a"], ["nodule"])["networks"]
    assert (row["dice"]["mean"], row["dice"]["n"]) == (pytest.approx(0.6), 2)


def test_an_empty_prediction_counts_as_0_for_dice_and_is_left_out_of_hd95():
    (row,) = comparison_of([record("a", 1, [case("x", nodule=0.8), case("y", nodule=None)])], ["a"], ["nodule"])[
        "networks"
    ]
    assert (row["dice"]["mean"], row["dice"]["n"]) == (pytest.approx(0.4), 2)
    assert (row["hd95_mm"]["mean"], row["hd95_mm"]["n"]) == (pytest.approx(8.0), 1)
    assert row["empty_predictions"] == 1


def test_networks_are_tested_against_the_first_one_on_the_cases_that_both_have():
    names = [f"case-{i}" for i in range(6)]
    first = record("a", 1, [case(name, nodule=0.5) for name in names] + [case("only-a", nodule=0.1)])
    second = record("b", 1, [case(name, nodule=0.51 + 0.01 * i) for i, name in enumerate(names)])
    third = record("c", 1, [case(name, nodule=0.5) for name in names])
    rows = comparison_of([first, second, third], ["a", "b", "c"], ["nodule"])["networks"]
    test = rows[1]["dice"]["test"]
    assert test["n"] == 6
    assert test["difference"] == pytest.approx(0.035)
    assert (test["p"], test["p_holm"]) == (pytest.approx(1 / 32), pytest.approx(2 / 32))
    assert rows[2]["dice"]["test"]["p_holm"] == 1.0


def test_two_structures_have_a_row_each_and_one_for_their_mean():
    content = comparison_of([record("a", 1, [case("x", right=0.9, left=0.7)])], ["a"], ["right", "left"])
    assert content["structures"] == ["right", "left", "mean"]
    found = {row["structure"]: row["dice"]["mean"] for row in content["networks"]}
    assert found == {"right": pytest.approx(0.9), "left": pytest.approx(0.7), "mean": pytest.approx(0.8)}
    missing = comparison_of([record("a", 1, [case("x", right=0.9, left=None)])], ["a"], ["right", "left"])
    assert missing["networks"][2]["hd95_mm"] == {"mean": None, "low": None, "high": None, "n": 0, "test": None}


def test_a_failed_member_is_listed_with_its_reason_and_the_others_are_counted():
    content = comparison_of(
        [record("a", 1, [case("x", nodule=0.8)]), failed("a", 2), failed("b", 1)], ["a", "b"], ["nodule"]
    )
    assert [member["status"] for member in content["members"]] == ["done", "failed", "failed"]
    assert content["members"][1]["reason"] == "training: exit code 5"
    assert all("settings" not in member for member in content["members"])
    rows = content["networks"]
    assert (rows[0]["members"], rows[0]["members_done"], rows[0]["dice"]["mean"]) == (2, 1, pytest.approx(0.8))
    assert (rows[1]["members_done"], rows[1]["dice"]["mean"], rows[1]["inference_s"]) == (0, None, None)
    assert rows[1]["dice"]["test"]["n"] == 0


def test_seconds_are_the_median_over_all_cases():
    records = [record("a", 1, [case("x", 1.0, nodule=1.0), case("y", 2.0, nodule=1.0), case("z", 9.0, nodule=1.0)])]
    assert comparison_of(records, ["a"], ["nodule"])["networks"][0]["inference_s"] == 2.0


def test_both_csv_files_have_a_row_for_each_thing_and_an_empty_cell_for_what_is_not_defined():
    records = [record("a", 1, [case("x", nodule=0.8), case("y", nodule=None)]), failed("b", 1)]
    rows = list(csv.DictReader(io.StringIO(compare_csv(comparison_of(records, ["a", "b"], ["nodule"])))))
    assert [(row["network"], row["dice"], row["hd95_mm_n"]) for row in rows] == [("a", "0.4", "1"), ("b", "", "0")]
    rows = list(csv.DictReader(io.StringIO(cases_csv(records))))
    assert [(row["case_id"], row["seed"], row["hd95_mm"]) for row in rows] == [("x", "1", "8"), ("y", "1", "")]


def test_nodules_are_grouped_by_the_diameter_of_their_reference():
    volumes = {f"case-{d}": math.pi * d**3 / 6 for d in (5, 7, 10, 14, 30)}
    cases = [
        {"network": "a", "case_id": name, "dice": 0.5, "diameter_mm": float(name[5:]), "reference_mm3": volume}
        for name, volume in volumes.items()
    ]
    groups = size_groups(cases, own_patients(cases), ["a"], is_nodule=True)
    assert [(g["low"], g["high"], g["case_ids"]) for g in groups] == [
        (None, 6.0, ["case-5"]),
        (6.0, 8.0, ["case-7"]),
        (8.0, 15.0, ["case-10", "case-14"]),
        (15.0, None, ["case-30"]),
    ]
    (found,) = groups[2]["networks"]
    assert (found["network"], found["mean"], found["n"]) == ("a", 0.5, 2)
    assert math.isnan(found["low"])  # of two patients nothing more is known


def test_other_structures_are_grouped_by_thirds_of_volume_and_few_are_one_group():
    cases = [
        {"network": "a", "case_id": f"{i}", "dice": 0.9, "diameter_mm": None, "reference_mm3": 1000.0 * (i + 1)}
        for i in range(6)
    ]
    groups = size_groups(cases, own_patients(cases), ["a"], is_nodule=False)
    assert [(g["low"], g["high"], len(g["case_ids"]), g["unit"]) for g in groups] == [
        (None, 3.0, 2, "ml"),
        (3.0, 5.0, 2, "ml"),
        (5.0, None, 2, "ml"),
    ]
    assert [len(g["case_ids"]) for g in size_groups(cases[:5], own_patients(cases), ["a"], is_nodule=False)] == [5]


def test_cases_of_one_patient_are_one_unit_of_every_interval_and_test():
    def members(patients: int) -> list[dict]:
        cases = [(f"c{i}", f"p{i % patients}") for i in range(14)]
        measured = [
            [case(name, nodule=0.5 + 0.01 * i + more) | {"patient": patient} for i, (name, patient) in enumerate(cases)]
            for more in (0.0, 0.05)
        ]
        return [record("a", 1, measured[0]), record("b", 1, measured[1])]

    few = comparison_of(members(5), ["a", "b"], ["nodule"])
    assert (few["patients"], few["networks"][1]["dice"]["n"]) == (5, 14)
    assert few["networks"][1]["dice"]["low"] is None
    assert few["networks"][1]["dice"]["test"]["p"] is None
    enough = comparison_of(members(7), ["a", "b"], ["nodule"])["networks"][1]["dice"]
    assert enough["low"] < enough["mean"] < enough["high"]
    assert enough["test"]["p"] == pytest.approx(2 / 2**7)  # of seven patients, not of fourteen cases
