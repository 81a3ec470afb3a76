"""The machine's ceiling: the best time counts, and it is never nothing."""

from __future__ import annotations

import pytest

from lungseg3d.tensors import best_seconds, matmul_gflops, speed


def test_the_shortest_time_counts_and_the_first_run_does_not(monkeypatch):
    # First run 0 to 9, trial until 9 + 2; second run 9.5 to 10.0, third 10.2 to 11.2, and the time is up.
    times = iter([0.0, 9.0, 9.0, 9.1, 9.5, 10.0, 10.1, 10.2, 11.2, 11.3])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(times))
    calls = []
    assert best_seconds(lambda: calls.append(1), "cpu", 2.0) == pytest.approx(0.5)
    assert len(calls) == 3


def test_matrices_are_multiplied_at_some_speed(monkeypatch):
    monkeypatch.setitem(speed._SIDE, "cpu", 64)
    assert matmul_gflops("fp32", "cpu", seconds=0.001) > 0
