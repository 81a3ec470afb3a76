"""What a batch knows of those who work for it: that there is a pool of them, and what it tells.

In: tasks. Out: events: a step, an outcome, or a case that was lost and why. Knows no process and no Ray.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lungseg3d.core import LungSegError, QualityIssue
from lungseg3d.core.errors import fault_of
from lungseg3d.io import is_out_of_memory
from lungseg3d.workflows.batch_state.case import Outcome, Task

START_LIMIT_S = 900.0
"""A worker that has not opened its models by then is given up."""


@dataclass(frozen=True)
class Limits:
    """What one case may take: seconds, and bytes of address space of its worker (None: no limit)."""

    time_s: float = 3600.0
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Moved:
    """A case has come to another step."""

    case_id: str
    step: str
    fraction: float


@dataclass(frozen=True)
class Finished:
    """A case has come to its end; its files lie in the task's folder."""

    task: Task
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """Nothing came of a case; its folder may hold anything."""

    task: Task
    issue: QualityIssue


Event = Moved | Finished | Lost


class Pool(Protocol):
    """Workers, wherever they are."""

    def room(self) -> int:
        """How many workers there is room for, where nobody says how many there shall be."""

    def want(self, count: int) -> None:
        """Have this many workers, those that are starting included."""

    def is_ready(self) -> bool:
        """Whether a worker waits for a task."""

    def submit(self, task: Task) -> None:
        """Give a task to a worker that waits."""

    def wait(self, longest_s: float) -> list[Event]:
        """What has happened; waits for it, `longest_s` at most.

        Raises:
            LungSegError: no worker can be started.
        """

    def end(self) -> None:
        """End every worker at once, whatever it does."""


def said_of(error: Exception, what: str) -> tuple[str, str, str]:
    """Code, message and way out of an error that nobody else has put into words."""
    if isinstance(error, LungSegError):
        return error.code, error.message, error.remedy
    if isinstance(error, MemoryError) or is_out_of_memory(str(error)):
        return "E_OUT_OF_MEMORY", f"{what}: memory ran out.", "Give more with --memory-limit, or crop the CT."
    return "E_UNEXPECTED", f"{what}: {fault_of(error)}", "Please report this."
