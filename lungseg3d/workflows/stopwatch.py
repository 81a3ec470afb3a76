"""Seconds by step.

In: names of steps. Out: what each took. Knows nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


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
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - begin, 3)
