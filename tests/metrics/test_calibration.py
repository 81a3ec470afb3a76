"""Reliability by hand."""

import math

import numpy as np
import pytest

from lungseg3d.metrics import reliability


def test_confidences_that_come_true_as_often_as_they_say_have_no_error():
    confidences = [0.25] * 8 + [0.75] * 8
    found = reliability(confidences, [True] * 2 + [False] * 6 + [True] * 6 + [False] * 2)
    assert found.ece == pytest.approx(0)
    assert found.share[[2, 7]] == pytest.approx([0.25, 0.75])


def test_the_error_is_the_mean_distance_weighted_by_findings():
    # Three findings say 0.9 and one of them is true; one says 0.1 and is true.
    found = reliability([0.9, 0.9, 0.9, 0.1], [True, False, False, True])
    assert found.ece == pytest.approx(0.75 * (0.9 - 1 / 3) + 0.25 * 0.9)
    assert found.counts.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert np.isnan(found.share[0])


def test_a_confidence_of_1_lies_in_the_last_bin_and_none_gives_nan():
    assert reliability([1.0], [True]).counts[-1] == 1
    assert math.isnan(reliability([], []).ece)


def test_the_interval_is_around_the_error_of_many_findings():
    random = np.random.default_rng(2)
    sure = random.random(2000)
    found = reliability(sure, random.random(2000) < sure**2)
    assert found.low < found.ece < found.high
    assert found.high - found.low < 0.06
    assert found.ece == pytest.approx(1 / 2 - 1 / 3, abs=0.03)


def test_what_is_no_confidence_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        reliability([1.1], [True])
    with pytest.raises(ValueError, match="cannot be paired"):
        reliability([0.5], [True, False])


def test_findings_of_one_patient_are_resampled_together():
    # Ten patients with twenty equal findings each are ten findings, not two hundred.
    sure, true = np.full(200, 0.5), np.repeat(np.arange(10) < 5, 20)
    alone, together = reliability(sure, true), reliability(sure, true, groups=np.repeat(np.arange(10), 20).astype(str))
    assert alone.ece == together.ece == 0
    assert together.high > 2 * alone.high


def test_findings_of_fewer_than_six_patients_have_an_error_and_no_interval():
    sure, true = [0.9, 0.2, 0.7, 0.4, 0.6, 0.8], [True, False, True, False, False, True]
    few = reliability(sure, true, groups=["a", "b", "c", "d", "e", "e"])
    assert few.ece > 0
    assert math.isnan(few.low)
    assert reliability(sure, true, groups=list("abcdef")).low < few.ece
