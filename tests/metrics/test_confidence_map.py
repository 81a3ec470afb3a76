"""Maps of confidence: known laws come back, they never fall, and nothing is fitted on next to nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lungseg3d.metrics import ConfidenceMap, fit_confidence_map, held_out_confidences, reliability


def overconfident(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Findings that are true half as often as their confidence says."""
    random = np.random.default_rng(0)
    sure = random.uniform(0.5, 1, n)
    return sure, random.uniform(size=n) < sure / 2


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_known_law_comes_back(method):
    sure, true = overconfident()
    asked = np.array([0.6, 0.75, 0.9])
    assert fit_confidence_map(sure, true, method)(asked) == pytest.approx(asked / 2, abs=0.05)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_held_out_findings_are_calibrated_where_the_raw_ones_were_not(method):
    sure, true = overconfident()
    held = held_out_confidences(sure, true, np.arange(len(sure)) % 5, method)
    assert reliability(sure, true).ece > 0.3
    assert reliability(held, true).ece < 0.05


def test_what_a_fold_says_of_itself_does_not_reach_its_map():
    sure, true = overconfident(400)
    folds = np.arange(400) % 2
    turned = np.where(folds == 0, ~true, true)
    ours, theirs = (held_out_confidences(sure, verdicts, folds) for verdicts in (true, turned))
    assert np.array_equal(ours[folds == 0], theirs[folds == 0])
    assert not np.array_equal(ours[folds == 1], theirs[folds == 1])


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_confidence_that_misleads_becomes_a_flat_map_and_not_a_falling_one(method):
    sure, true = overconfident()
    assert np.ptp(fit_confidence_map(sure, sure < 0.75, method)([0.5, 0.7, 0.9])) < 0.05
    assert np.diff(fit_confidence_map(1 - sure, true, method)(np.linspace(0, 1, 50))).min() >= 0


def test_few_findings_of_one_kind_never_become_certainty():
    sure, true = np.linspace(0.5, 1, 20), np.arange(20) >= 10
    for method in ("platt", "isotonic"):
        assert 0.02 < fit_confidence_map(sure, true, method)([0.0])[0] < 0.2
        assert 0.8 < fit_confidence_map(sure, true, method)([1.0])[0] < 0.98


def test_what_makes_no_map_is_refused():
    with pytest.raises(ValueError, match="4 true and 6 false findings: at least 5 of each"):
        fit_confidence_map(np.linspace(0, 1, 10), np.arange(10) < 4)
    with pytest.raises(ValueError, match="platt or isotonic"):
        fit_confidence_map(*overconfident(100), "magic")
    with pytest.raises(ValueError, match="one fold alone"):
        held_out_confidences(*overconfident(100), np.zeros(100))
    for knots, values in (((0.2, 0.1), (0, 1)), ((0, 1), (1, 0)), ((0,), (0, 1)), ((0, 2), (0, 1)), ((), ())):
        with pytest.raises(ValueError, match=r"map|rise"):
            ConfidenceMap(knots, values)


def test_where_true_ones_are_rarer_the_odds_fall_by_as_much():
    fitted = ConfidenceMap((0.0, 0.5, 1.0), (0.0, 0.5, 0.9))
    rare = fitted.where_true_ones_are(1 / 40)
    assert rare([0.0, 0.5, 1.0]).tolist() == pytest.approx([0, 1 / 41, 9 / 49], abs=1e-6)
    assert rare.where_true_ones_are(40).probability == pytest.approx(fitted.probability, abs=1e-4)
    assert fitted.where_true_ones_are(1) == fitted
    for times in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            fitted.where_true_ones_are(times)


def test_a_map_of_a_rich_set_is_right_where_nine_of_ten_true_ones_are_taken_away():
    sure, true = overconfident(200_000)
    kept = ~true | (np.random.default_rng(1).random(len(true)) < 0.1)
    rare = fit_confidence_map(sure, true).where_true_ones_are(0.1)
    assert rare(sure[kept]).mean() == pytest.approx(true[kept].mean(), rel=0.05)
    assert reliability(rare(sure[kept]), true[kept]).ece < 0.02
