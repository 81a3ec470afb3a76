"""Seconds by step."""

from __future__ import annotations

import pytest

from lungseg3d.core import stopwatch
from lungseg3d.core.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves when told to."""
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    return now


def test_steps_add_up_in_the_order_in_which_they_first_ran(clock):
    begun: list[str] = []
    watch = Stopwatch(begun.append)
    for name, seconds in (("read", 1.5), ("prepare", 0.25), ("read", 2.0)):
        with watch.step(name):
            clock[0] += seconds
        clock[0] += 10
    assert watch.seconds == {"read": 3.5, "prepare": 0.25}
    assert list(watch.seconds) == ["read", "prepare"]
    assert begun == ["read", "prepare", "read"]


def test_a_step_that_fails_is_timed_and_its_error_goes_on(clock):
    watch = Stopwatch()

    def fails():
        with watch.step("read"):
            clock[0] += 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert watch.seconds == {"read": 2.0}
