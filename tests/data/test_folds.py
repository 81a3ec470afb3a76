"""Folds are dealt by patient, evenly and always alike; a patient on two sides is refused."""

import pytest

from lungseg3d.core import LungSegError
from lungseg3d.data import assign_folds, check_split


def test_folds_differ_by_one_patient_at_most():
    folds = assign_folds([f"p{n}" for n in range(23)], 5)
    sizes = [list(folds.values()).count(fold) for fold in range(5)]
    assert sorted(sizes) == [4, 4, 5, 5, 5]


def test_order_and_repetition_do_not_matter():
    names = [f"p{n}" for n in range(10)]
    assert assign_folds(reversed(names * 2), 3) == assign_folds(names, 3)


def test_the_folds_of_known_names_stay_what_they_are():
    assert assign_folds(["p0", "p1", "p2"], 3) == {"p0": 0, "p2": 1, "p1": 2}


@pytest.mark.parametrize("key", ["fold", "split"])
def test_one_patient_on_two_sides_is_named(key):
    cases = [{"case_id": "a", "patient": "p", key: 0}, {"case_id": "b", "patient": "p", key: 1}]
    with pytest.raises(LungSegError, match=r"E_SPLIT_LEAK.*patient p .*\(a\).*\(b\)"):
        check_split(cases, "set")


def test_cases_without_a_patient_or_on_one_side_pass():
    alone = [{"case_id": "a"}, {"case_id": "b", "patient": "p", "fold": 1}, {"case_id": "c", "fold": 2}]
    assert check_split(alone, "set") is None
    with pytest.raises(LungSegError, match="E_SPLIT_LEAK"):
        check_split([*alone, {"case_id": "d", "patient": "p", "fold": 2}], "set")
