"""Means with intervals and limits of agreement, by hand."""

import math

import numpy as np
import pytest

from lungseg3d.metrics import (
    bland_altman,
    bootstrap_mean,
    bootstrap_ratio,
    correlation,
    intraclass_correlation,
)


def test_the_interval_of_equal_values_is_that_value():
    interval = bootstrap_mean([0.8] * 10)
    assert (interval.low, interval.mean, interval.high, interval.n) == (pytest.approx(0.8),) * 3 + (10,)


def test_the_interval_of_many_normal_values_is_1_96_standard_errors_wide():
    values = np.random.default_rng(5).normal(10, 2, 400)
    interval = bootstrap_mean(values)
    half_width = 1.96 * values.std() / math.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.mean == pytest.approx(half_width, rel=0.1)
    assert interval.mean - interval.low == pytest.approx(half_width, rel=0.1)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = [0.1, 0.5, 0.6, 0.9]
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    many = np.random.default_rng(1).random(50)
    assert bootstrap_mean(many, seed=3) != bootstrap_mean(many, seed=4)


def test_undefined_values_are_left_out_and_counted_out():
    assert bootstrap_mean([0.5, math.nan, 0.5]).n == 2
    assert bootstrap_mean([]).n == 0
    assert math.isnan(bootstrap_mean([math.nan]).mean)
    assert bootstrap_mean([1.0, math.inf]).mean == math.inf


def test_an_interval_reads_as_mean_bounds_and_number():
    assert str(bootstrap_mean([0.5, 0.5])) == "0.500 [0.500, 0.500] (n=2)"


def test_limits_of_agreement_are_the_mean_difference_and_1_96_standard_deviations():
    agreement = bland_altman([11, 12, 13], [10, 10, 10])  # differences 1, 2, 3: mean 2, sample SD 1
    assert (agreement.bias, agreement.sd, agreement.n) == (2, 1, 3)
    assert (agreement.low, agreement.high) == (pytest.approx(0.04), pytest.approx(3.96))


def test_one_case_unpaired_cases_and_undefined_values_have_no_limits_of_agreement():
    with pytest.raises(ValueError, match="two cases"):
        bland_altman([1], [1])
    with pytest.raises(ValueError, match="paired"):
        bland_altman([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="finite"):
        bland_altman([1, math.nan], [1, 2])
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_mean([1.0], confidence=95)


def test_a_ratio_over_clusters_is_that_of_all_things_and_its_interval_that_of_clusters():
    assert bootstrap_ratio([1, 3], [2, 4]).mean == pytest.approx(4 / 6)
    # Ten nodules of one patient are not ten patients: copies of a nodule narrow nothing.
    random = np.random.default_rng(4)
    hits = random.random(50) < 0.6
    once, tenfold = bootstrap_ratio(hits, np.ones(50)), bootstrap_ratio(10 * hits, np.full(50, 10))
    assert (tenfold.low, tenfold.high, tenfold.n) == (once.low, once.high, 500)
    assert once.high - once.low == pytest.approx(2 * 1.96 * math.sqrt(hits.mean() * (1 - hits.mean()) / 50), rel=0.15)


def test_clusters_without_a_thing_count_for_nothing():
    assert bootstrap_ratio([1, 0, 1], [1, 0, 2]) == bootstrap_ratio([1, 1], [1, 2])
    assert bootstrap_ratio([0], [0]).n == 0
    with pytest.raises(ValueError, match="cannot be divided"):
        bootstrap_ratio([1], [1, 2])


def test_the_icc_is_that_of_shrout_and_fleiss():
    # Judges 2 and 4 of their table 2; ICC(2,1) of two columns by its own mean squares.
    ours, theirs = [2, 1, 4, 1, 5, 2], [8, 2, 6, 6, 9, 7]
    table = np.array([ours, theirs], float).T
    n, k = table.shape
    rows = k * table.mean(axis=1).var(ddof=1)
    columns = n * table.mean(axis=0).var(ddof=1)
    total = ((table - table.mean()) ** 2).sum()
    error = (total - (n - 1) * rows - (k - 1) * columns) / ((n - 1) * (k - 1))
    expected = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    assert intraclass_correlation(ours, theirs) == pytest.approx(expected)


def test_a_shift_lowers_the_icc_and_not_the_correlation():
    values = np.array([1.0, 2, 3, 4])
    assert intraclass_correlation(values, values) == pytest.approx(1)
    assert correlation(values + 2, values) == pytest.approx(1)
    # Rows 10/3, columns 8, error 0: (10/3) / (10/3 + 2 * 8 / 4).
    assert intraclass_correlation(values + 2, values) == pytest.approx((10 / 3) / (10 / 3 + 4))
    assert math.isnan(correlation([1, 1], [1, 2]))
    assert math.isnan(intraclass_correlation([1], [1]))
