"""FROC by hand on a few marks, against scikit-learn on many, and on the challenge's own files."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from lungseg3d.metrics import LUNA16_RATES, ScanMarks, ScanMatches, froc_curve, froc_interval, match_marks

NONE = np.zeros((0, 3))


def scan(nodules=(), marks=(), ignored=()) -> ScanMarks:
    """Nodules and ignored findings as (x, diameter) on the x axis, marks as (x, score)."""

    def on_axis(items):
        columns = np.array(list(items), float).reshape(-1, 2)
        return np.stack([columns[:, 0], 0 * columns[:, 0], 0 * columns[:, 0]], axis=1), columns[:, 1]

    return ScanMarks(*on_axis(nodules), *on_axis(ignored), *on_axis(marks))


def test_a_mark_at_the_radius_misses_and_just_inside_it_hits():
    assert np.isnan(match_marks(scan([(0, 10)], [(5.0, 0.9)])).found).all()
    assert match_marks(scan([(0, 10)], [(4.999, 0.9)])).found.tolist() == [0.9]


def test_the_best_mark_counts_and_the_others_inside_are_no_false_positives():
    matches = match_marks(scan([(0, 10)], [(1, 0.3), (2, 0.8), (3, 0.5), (40, 0.7)]))
    assert matches.found.tolist() == [0.8]
    assert matches.false_positives.tolist() == [0.7]


def test_marks_on_ignored_findings_count_neither_way_and_an_unknown_diameter_is_10_mm():
    matches = match_marks(scan([], [(4.9, 0.9), (5.1, 0.8)], ignored=[(0, -1)]))
    assert matches.false_positives.tolist() == [0.8]


def test_a_mark_inside_two_nodules_finds_both():
    assert match_marks(scan([(0, 10), (4, 10)], [(2, 0.6)])).found.tolist() == [0.6, 0.6]


def test_of_too_many_marks_those_with_the_highest_scores_count():
    marks = [(100 + i, 0.01 + 0.005 * i) for i in range(100)] + [(0, 0.001)]
    assert np.isnan(match_marks(scan([(0, 10)], marks), most_marks=100).found).all()
    assert match_marks(scan([(0, 10)], marks), most_marks=None).found.tolist() == [0.001]


def test_a_curve_of_two_scans_by_hand():
    # By falling score: hit, false, hit, false; three nodules, one never found, two scans.
    first = ScanMatches(np.array([0.9, math.nan]), np.array([0.8]), 2)
    second = ScanMatches(np.array([0.7]), np.array([0.6]), 2)
    curve = froc_curve([first, second])
    assert curve.rate.tolist() == [0, 0, 0.5, 0.5, 1.0]
    assert curve.sensitivity == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert curve.sensitivity_at([0.25, 0.75, 8.0]) == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert curve.cpm == pytest.approx((2 * (1 / 3) + 5 * (2 / 3)) / 7)


def test_a_scan_without_nodules_and_marks_halves_the_rate():
    one = ScanMatches(np.array([0.5]), np.array([0.9, 0.8]), 3)
    empty = ScanMatches(np.zeros(0), np.zeros(0), 0)
    assert froc_curve([one]).rate[-1] == 2
    assert froc_curve([one, empty]).rate[-1] == 1


def test_without_a_nodule_or_a_scan_there_is_no_curve():
    with pytest.raises(ValueError, match="needs a nodule"):
        froc_curve([ScanMatches(np.zeros(0), np.array([0.1]), 1)])
    with pytest.raises(ValueError, match="needs a scan"):
        froc_curve([])


def test_the_curve_is_scikit_learns_with_its_axes_scaled():
    from sklearn.metrics import roc_curve

    random = np.random.default_rng(3)
    matches = []
    for _ in range(30):
        found = np.where(random.random(3) < 0.7, np.round(random.random(3), 2), math.nan)
        matches.append(ScanMatches(found, np.round(random.random(9) ** 2, 2), 12))
    hits = np.concatenate([match.found for match in matches])
    hits, false = hits[~np.isnan(hits)], np.concatenate([match.false_positives for match in matches])
    fpr, tpr, _ = roc_curve([1] * len(hits) + [0] * len(false), np.concatenate([hits, false]))
    expected = np.interp(LUNA16_RATES, fpr * len(false) / 30, tpr * len(hits) / 90)
    assert froc_curve(matches).sensitivity_at() == pytest.approx(expected, abs=1e-12)


def test_the_curve_is_monais_where_monai_has_it():
    from monai.metrics import compute_froc_curve_data

    random = np.random.default_rng(4)
    matches = [ScanMatches(random.random(3), random.random(5), 8) for _ in range(10)]
    hits = np.concatenate([match.found for match in matches])
    false = np.concatenate([match.false_positives for match in matches])
    rates, shares = compute_froc_curve_data(false, hits, 30, 10)
    curve = froc_curve(matches)
    ours = set(zip(curve.rate.round(9).tolist(), curve.sensitivity.round(9).tolist(), strict=True))
    # MONAI leaves out the lowest score and begins with none at all.
    theirs = set(zip(np.round(rates, 9).tolist(), np.round(shares, 9).tolist(), strict=True))
    assert len(theirs) > 70
    assert theirs <= ours


def test_the_interval_holds_the_value_and_is_the_same_every_time():
    random = np.random.default_rng(5)
    matches = [ScanMatches(random.random(2), random.random(3), 5) for _ in range(40)]
    low, high = froc_interval(matches, resamples=200)
    values = froc_curve(matches).sensitivity_at()
    assert (low[:-1] <= values + 1e-9).all()
    assert (values <= high[:-1] + 1e-9).all()
    assert low[-1] < values.mean() < high[-1]
    assert np.array_equal(low, froc_interval(matches, resamples=200)[0])


@pytest.mark.real
def test_the_published_system_scores_what_the_challenge_published(real_data):
    folder = real_data / "luna16_froc"

    def by_scan(name: str, delimiter: str = ",") -> dict[int, list[list[float]]]:
        found: dict[int, list[list[float]]] = {}
        with (folder / name).open(newline="") as file:
            for row in csv.DictReader(file, delimiter=delimiter):
                series, *numbers = row.values()
                found.setdefault(int(series), []).append([float(number) for number in numbers])
        return found

    nodules, ignored = by_scan("annotations.csv"), by_scan("annotations_excluded.csv")
    marks = by_scan("submission_dpn26bs32.csv", "\t")
    matches = []
    for series in (folder / "seriesuids.csv").read_text().split():
        tables = [np.array(t.get(int(series), []), float).reshape(-1, 4) for t in (nodules, ignored, marks)]
        columns = [part for table in tables for part in (table[:, :3], table[:, 3])]
        matches.append(match_marks(ScanMarks(*columns)))
    curve = froc_curve(matches)
    assert curve.sensitivity_at().round(3).tolist() == [0.692, 0.769, 0.824, 0.865, 0.893, 0.917, 0.933]
    assert round(curve.cpm, 3) == 0.842
    assert (curve.scans, curve.nodules) == (888, 1186)


def test_a_curve_over_patients_needs_six_of_them_and_is_never_certain():
    perfect = [ScanMatches(np.array([0.9]), np.zeros(0), 1) for _ in range(12)]
    low, high = froc_interval(perfect, patients=[f"p{i // 2}" for i in range(12)])
    assert low == pytest.approx([0.025 ** (1 / 6)] * 8)
    assert high == pytest.approx([1.0] * 8)
    low, high = froc_interval(perfect, patients=[f"p{i % 5}" for i in range(12)])
    assert np.isnan([low, high]).all()


def test_scans_of_one_patient_are_drawn_together():
    scans = [ScanMatches(np.array([0.9 if i % 3 else np.nan]), np.zeros(0), int(i % 3 > 0)) for i in range(9)]
    apart = froc_interval(scans, patients=[f"p{i}" for i in range(9)])
    doubled = froc_interval(scans * 4, patients=[f"p{i % 9}" for i in range(36)])
    assert doubled[0] == pytest.approx(apart[0])
    assert doubled[1] == pytest.approx(apart[1])
