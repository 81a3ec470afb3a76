"""Comparisons put together: the numbers of one made at once, and only what was made alike, each member once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungseg3d.core import UsageError
from lungseg3d.workflows.compare_join import check_joinable, joined
from lungseg3d.workflows.compare_tables import cases_csv, comparison_of
from tests.workflows.test_compare_tables import case, failed, record

FACTS = {"bundle": "b", "training": None, "overrides": {"epochs": "4"}, "weights": "model", "minutes": 10.0}
FOLD_0 = [
    record("a", 0, [case("x", nodule=0.8), case("y", nodule=None)], fold=0, steps=100),
    record("b", 0, [case("x", nodule=0.5), case("y", nodule=0.25)], fold=0, steps=40),
]
FOLD_1 = [
    record("a", 0, [case("z", nodule=0.75)], fold=1, steps=300),
    record("b", 0, [case("z", nodule=0.5)], fold=1, steps=80),
]


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
    records = joined(FOLD_1, facts(), [written(tmp_path / "fold-0", FOLD_0)])
    together, at_once = (comparison_of(each, ["a", "b"], ["nodule"]) for each in (records, FOLD_0 + FOLD_1))
    assert together["networks"] == at_once["networks"]
    assert together["cases"] == at_once["cases"]
    assert together["networks"][0]["dice"]["n"] == 3
    assert together["networks"][0]["steps"] == 200
    assert cases_csv(records) == cases_csv(FOLD_0 + FOLD_1)


def test_members_of_networks_that_are_not_compared_are_left_out(tmp_path):
    records = joined(FOLD_1[:1], facts(), [written(tmp_path / "fold-0", FOLD_0)])
    assert [(r["network"], r["fold"]) for r in records] == [("a", 0), ("a", 1)]


def test_a_member_that_failed_is_joined_as_failed(tmp_path):
    records = joined(FOLD_1, facts(), [written(tmp_path / "fold-0", [FOLD_0[0], failed("b", 0)])])
    assert [r["status"] for r in records] == ["done", "failed", "done", "done"]


def test_a_mean_over_structures_is_no_structure_of_its_own(tmp_path):
    lungs = [record("a", 0, [case("x", right=0.8, left=0.6)]), record("b", 0, [case("x", right=0.5, left=0.5)])]
    folder = written(tmp_path / "fold-0", lungs, ("right", "left"))
    assert len(joined([record("a", 0, [], fold=1)], facts(structures=["right", "left"]), [folder])) == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"minutes": 20.0}, "minutes 10.0, this comparison with 20.0"),
        ({"overrides": {"epochs": "5"}}, "epochs"),
        ({"bundle": "c"}, "bundle"),
        ({"structures": ["lung"]}, "structures"),
    ],
)
def test_comparisons_made_otherwise_are_refused_before_anything_is_trained(tmp_path, changed, said):
    folder = written(tmp_path / "fold-0", FOLD_0)
    with pytest.raises(UsageError, match="E_NOT_ALIKE") as caught:
        check_joinable(facts(**changed), [("a", 1, 0)], [folder])
    assert said in caught.value.message


def test_where_the_files_lie_is_no_condition(tmp_path):
    folder = written(tmp_path / "fold-0", FOLD_0, overrides={"epochs": "4", "cache_dir": "<path>"})
    check_joinable(facts(), [("a", 1, 0)], [folder])


def test_a_member_that_both_have_is_refused(tmp_path):
    folder = written(tmp_path / "fold-0", FOLD_0)
    with pytest.raises(UsageError, match="E_MEMBER_TWICE") as caught:
        check_joinable(facts(), [("a", 0, 0)], [folder])
    assert "a, fold 0, seed 0" in caught.value.message


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"members": [{"status": "done"}]}'])
def test_a_folder_without_a_whole_comparison_is_refused(tmp_path, text):
    folder = written(tmp_path / "fold-0", FOLD_0)
    (folder / "compare.json").write_text(text)
    with pytest.raises(UsageError, match="E_NOT_A_COMPARISON"):
        check_joinable(facts(), [("a", 1, 0)], [folder])
    with pytest.raises(UsageError, match="E_NOT_A_COMPARISON"):
        check_joinable(facts(), [("a", 1, 0)], [tmp_path / "nowhere"])
