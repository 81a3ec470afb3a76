"""Paired comparison of methods: differences, Wilcoxon's p, Holm's correction."""

from __future__ import annotations

import math

import pytest

from lungseg3d.metrics import holm, paired_test


def test_six_cases_that_all_improve_have_the_smallest_p_that_six_can_have():
    # All signs alike happen in 2 of 2 ** 6 ways.
    test = paired_test([0.61, 0.72, 0.83, 0.94, 0.55, 0.66], [0.6, 0.7, 0.8, 0.9, 0.5, 0.6])
    assert test.p == pytest.approx(2 / 2**6)
    assert test.difference.mean == pytest.approx(0.035)
    assert 0.01 <= test.difference.low < test.difference.mean < test.difference.high <= 0.06
    assert test.difference.n == 6


def test_exchanging_the_methods_turns_the_sign_and_keeps_p():
    ours, theirs = [0.5, 0.9, 0.7, 0.65], [0.4, 0.92, 0.5, 0.35]
    one, other = paired_test(ours, theirs), paired_test(theirs, ours)
    assert one.p == other.p
    assert one.difference.mean == pytest.approx(-other.difference.mean)


def test_equal_methods_do_not_differ():
    # 0.1 + 0.2 is not 0.3 in binary: a last bit is no difference.
    test = paired_test([0.1 + 0.2, 0.5], [0.3, 0.5])
    assert test.p == 1.0
    assert test.difference.mean == pytest.approx(0)


def test_a_case_that_one_method_lacks_is_left_out():
    test = paired_test([1.0, math.nan, 2.0, math.inf], [0.5, 0.5, 1.0, 3.0])
    assert test.difference.n == 2
    assert test.difference.mean == pytest.approx(0.75)


def test_without_a_pair_nothing_is_known():
    test = paired_test([math.nan], [1.0])
    assert math.isnan(test.p)
    assert test.difference.n == 0


def test_other_cases_cannot_be_paired():
    with pytest.raises(ValueError, match="2 cases cannot be paired with 1"):
        paired_test([1.0, 2.0], [1.0])


def test_holm_multiplies_the_smallest_p_by_the_number_of_tests_and_never_falls():
    # By hand: 0.01 * 3, max(0.03, 0.02 * 2), max(0.04, 0.03 * 1).
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


def test_holm_stays_at_one_at_most_and_leaves_out_what_is_not_known():
    corrected = holm([0.6, math.nan, 0.7])
    assert corrected[0] == corrected[2] == 1.0
    assert math.isnan(corrected[1])
    assert holm([]) == []


def test_twelve_nodules_of_one_patient_are_one_unit_and_prove_nothing():
    values, others = [0.8 + 0.01 * i for i in range(12)], [0.5] * 12
    test = paired_test(values, others, ["p"] * 12)
    assert (test.patients, test.difference.n) == (1, 12)
    assert test.difference.mean == pytest.approx(0.355)
    assert math.isnan(test.p)
    assert math.isnan(test.difference.low)


@pytest.mark.parametrize(("patients", "is_known"), [(5, False), (6, True)])
def test_six_patients_are_the_least_that_have_an_interval_and_a_p(patients, is_known):
    values = [0.6 + 0.01 * i for i in range(3 * patients)]
    test = paired_test(values, [0.5] * len(values), [f"p{i // 3}" for i in range(len(values))])
    assert test.patients == patients
    assert math.isnan(test.p) is not is_known
    if is_known:
        assert test.p == pytest.approx(2 / 2**6)  # of patients, not of their 18 nodules
        assert test.difference.low < test.difference.mean < test.difference.high


def test_patients_of_other_cases_cannot_be_paired():
    with pytest.raises(ValueError, match="2 cases cannot be of 1 patients"):
        paired_test([1.0, 2.0], [1.0, 1.0], ["p"])
