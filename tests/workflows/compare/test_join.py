"""Comparisons put together: the numbers of one made at once, and only what was made alike, each member once."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lungseg3d.core import UsageError
from lungseg3d.workflows.compare.join import measured_before
from lungseg3d.workflows.compare.plan import Member
from lungseg3d.workflows.compare.tables import cases_csv, comparison_of
from tests.workflows.compare.test_tables import case, failed, record

FACTS = {"bundle": "b", "training": None, "overrides": {"epochs": "4"}, "weights": "model", "minutes": 10.0}
FOLD_0 = [
    record("a", 0, [case("x", nodule=0.8), case("y", nodule=None)], fold=0, steps=100),
    record("b", 0, [case("x", nodule=0.5), case("y", nodule=0.25)], fold=0, steps=40),
]
FOLD_1 = [
    record("a", 0, [case("z", nodule=0.75)], fold=1, steps=300),
    record("b", 0, [case("z", nodule=0.5)], fold=1, steps=80),
]
CASES = {0: ["x", "y"], 1: ["z"]}


def member(network: str, fold: int) -> Member:
    return Member(network, fold, 0, {"cases": CASES[fold]}, Path(), (), (), {}, ("nodule",))


ALL = [member(network, fold) for network in "ab" for fold in CASES]


def written(folder: Path, records: list[dict], structures: tuple[str, ...] = ("nodule",), **changed: object) -> Path:
    """A comparison's folder, as far as it is read."""
    folder.mkdir()
    content = comparison_of(records, ["a", "b"], structures, **(FACTS | changed))
    (folder / "compare.json").write_text(json.dumps(content))
    (folder / "cases.csv").write_text(cases_csv(records))
    return folder


def facts(**changed: object) -> dict:
    return {"structures": ["nodule"], **FACTS, **changed}


def test_folds_of_two_comparisons_give_the_numbers_of_one(tmp_path):
    taken = measured_before(ALL, facts(), [written(tmp_path / "0", FOLD_0), written(tmp_path / "1", FOLD_1)])
    records = [taken[name.name] for name in ALL]
    at_once = [FOLD_0[0], FOLD_1[0], FOLD_0[1], FOLD_1[1]]
    together, expected = (comparison_of(each, ["a", "b"], ["nodule"]) for each in (records, at_once))
    assert together["networks"] == expected["networks"]
    assert together["cases"] == expected["cases"]
    assert together["networks"][0]["dice"]["n"] == 3
    assert together["networks"][0]["steps"] == 200
    assert cases_csv(records) == cases_csv(at_once)


def test_metrics_that_an_older_comparison_does_not_have_are_empty_cells(tmp_path):
    newer = case("z", nodule=0.75)
    newer["structures"]["nodule"]["nsd_1mm"] = 0.5
    taken = measured_before(ALL, facts(), [written(tmp_path / "0", FOLD_0[:1])])
    text = cases_csv([taken["a-fold-0-seed-0"], record("a", 0, [newer], fold=1)])
    assert [row["nsd_1mm"] for row in csv.DictReader(text.splitlines())] == ["", "", "0.5"]


def test_what_is_not_asked_for_or_failed_is_left_where_it_is(tmp_path):
    folder = written(tmp_path / "0", [FOLD_0[0], failed("b", 0)])
    assert list(measured_before(ALL, facts(), [folder])) == ["a-fold-0-seed-0"]
    assert measured_before(ALL[1:2], facts(), [folder]) == {}


def test_a_mean_over_structures_is_no_structure_of_its_own(tmp_path):
    lungs = [record("a", 0, [case("x", right=0.8, left=0.6), case("y", right=0.5, left=0.5)])]
    folder = written(tmp_path / "0", lungs, ("right", "left"))
    assert len(measured_before(ALL, facts(structures=["right", "left"]), [folder])) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"minutes": 20.0}, "minutes 10.0, this comparison with 20.0"),
        ({"overrides": {"epochs": "5"}}, "epochs"),
        ({"bundle": "c"}, "bundle"),
        ({"structures": ["lung"]}, "structures"),
    ],
)
def test_comparisons_made_otherwise_are_refused(tmp_path, changed, said):
    folder = written(tmp_path / "0", FOLD_0)
    with pytest.raises(UsageError, match="E_NOT_ALIKE") as caught:
        measured_before(ALL, facts(**changed), [folder])
    assert said in caught.value.message


def test_other_cases_of_the_same_fold_are_refused(tmp_path):
    folder = written(tmp_path / "0", [record("a", 0, [case("x", nodule=0.8)], fold=0)])
    with pytest.raises(UsageError, match="E_NOT_ALIKE") as caught:
        measured_before(ALL, facts(), [folder])
    assert "1 other cases than the 2" in caught.value.message


def test_where_the_files_lie_is_no_condition(tmp_path):
    folder = written(tmp_path / "0", FOLD_0, overrides={"epochs": "4", "cache_dir": "<path>"})
    assert len(measured_before(ALL, facts(), [folder])) == 2


def test_a_member_in_two_comparisons_is_taken_once_if_both_say_the_same_of_it(tmp_path):
    folders = [written(tmp_path / "0", FOLD_0), written(tmp_path / "again", FOLD_0 + FOLD_1)]
    assert len(measured_before(ALL, facts(), folders)) == 4
    other = record("a", 0, [case("x", nodule=0.7), case("y", nodule=None)], fold=0)
    with pytest.raises(UsageError, match="E_MEMBER_TWICE") as caught:
        measured_before(ALL, facts(), [*folders, written(tmp_path / "other", [other])])
    assert "a-fold-0-seed-0" in caught.value.message


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"members": [{"status": "done"}]}'])
def test_a_folder_without_a_whole_comparison_is_refused(tmp_path, text):
    folder = written(tmp_path / "0", FOLD_0)
    (folder / "compare.json").write_text(text)
    for wrong in (folder, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="E_NOT_A_COMPARISON"):
            measured_before(ALL, facts(), [wrong])
