"""Shares with exact intervals, means by patient, and no interval of width zero."""

from __future__ import annotations

import math

import pytest

from lungseg3d.metrics import LEAST_PATIENTS, mean_of_patients, proportion_interval


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(7, 7, 0.5904, 1.0), (0, 7, 0.0, 0.4096), (9, 10, 0.5550, 0.9975), (1, 2, 0.0126, 0.9874), (0, 1, 0.0, 0.975)],
)
def test_known_exact_intervals(hits, n, low, high):
    found = proportion_interval(hits, n)
    assert (found.mean, found.low, found.high) == pytest.approx((hits / n, low, high), abs=1e-4)


def test_the_exact_interval_is_that_of_scipy():
    from scipy.stats import binomtest

    theirs = binomtest(13, 29).proportion_ci(0.9, "exact")
    ours = proportion_interval(13, 29, confidence=0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_what_is_no_share_is_refused_and_nothing_has_no_share():
    with pytest.raises(ValueError, match="8 of 7"):
        proportion_interval(8, 7)
    with pytest.raises(ValueError, match="between 0 and 1"):
        proportion_interval(1, 2, confidence=95)
    assert math.isnan(proportion_interval(0, 0).mean)


def whose(count: int, each: int = 1) -> list[str]:
    return [f"p{i // each}" for i in range(count)]


def test_a_share_of_one_nodule_a_patient_is_exact():
    found = mean_of_patients([1.0] * 7, whose(7), is_share=True)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((1.0, 0.5904, 1.0, 7), abs=1e-4)
    mixed = mean_of_patients([1.0] * 9 + [0.0], whose(10), is_share=True)
    assert (mixed.low, mixed.high) == pytest.approx((0.5550, 0.9975), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_fourteen_nodules_of_seven_patients_that_agree_are_seven_units(value):
    found = mean_of_patients([value] * 14, whose(14, 2), is_share=True)
    low, high = (0.5904, 1.0) if value else (0.0, 0.4096)
    assert (found.mean, found.low, found.high) == pytest.approx((value, low, high), abs=1e-4)


def test_a_dice_of_one_in_every_case_has_no_interval_of_width_zero():
    found = mean_of_patients([1.0] * 8, whose(8), within=(0, 1))
    assert found.high == 1.0
    assert found.low == pytest.approx(0.025 ** (1 / 8))
    assert math.isnan(mean_of_patients([0.0] * 8, whose(8)).low)  # mm have no largest value


def test_few_patients_have_a_mean_and_no_interval_however_many_nodules_they_have():
    values = [0.5 + 0.01 * i for i in range(60)]
    few = mean_of_patients(values, [f"p{i % (LEAST_PATIENTS - 1)}" for i in range(60)], within=(0, 1))
    enough = mean_of_patients(values, [f"p{i % LEAST_PATIENTS}" for i in range(60)], within=(0, 1))
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    assert few.mean == enough.mean
    assert enough.low < enough.mean < enough.high


def test_patients_are_the_unit_not_their_nodules():
    by_patient = [0.2, 0.9, 0.4, 0.8, 0.3, 0.7, 0.6]
    once = mean_of_patients(by_patient, whose(7))
    tenfold = mean_of_patients([value for value in by_patient for _ in range(10)], whose(70, 10))
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_what_is_not_defined_is_left_out():
    assert mean_of_patients([math.nan, 1.0], ["a", "b"]).n == 1
    assert mean_of_patients([], []).n == 0
