"""Seconds by step, and while somebody asks for a profile, processor time and memory too.

In: names of steps. Out: what each took. Knows nothing else.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_STEPS: ContextVar[list[StepCost] | None] = ContextVar("steps", default=None)


@dataclass(frozen=True)
class StepCost:
    """What one step of one case took.

    Attributes:
        name: of the step.
        wall_s, cpu_s: by the clock, and of all threads of this process.
        peak_mib: the most memory that this process has held so far, since its beginning.
    """

    name: str
    wall_s: float
    cpu_s: float
    peak_mib: float


@contextmanager
def recorded_steps() -> Iterator[list[StepCost]]:
    """The steps of every stopwatch inside the block, in order."""
    steps: list[StepCost] = []
    token = _STEPS.set(steps)
    try:
        yield steps
    finally:
        _STEPS.reset(token)


class Stopwatch:
    """Adds up wall time under step names, in the order in which they first ran.

    Args:
        on_step: called with the name when a step begins.
    """

    def __init__(self, on_step: Callable[[str], Any] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_step = on_step

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what runs inside; a name used twice adds up."""
        if self._on_step:
            self._on_step(name)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            wall_s = time.perf_counter() - begin
            self.seconds[name] = round(self.seconds.get(name, 0.0) + wall_s, 3)
            steps = _STEPS.get()
            if steps is not None:
                steps.append(StepCost(name, wall_s, time.process_time() - begin_cpu, peak_memory_mib()))


def peak_memory_mib() -> float:
    """The most memory that this process has held since its beginning."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
