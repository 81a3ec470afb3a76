"""What a batch knows of those who work for it: that there is a pool of them, and what it tells.

In: tasks. Out: events: a step, an outcome, or a case that was lost and why. Knows no process and no Ray.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from lungseg3d.core import LungSegError, QualityIssue
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


def worker_issue(error: Exception, subject: str) -> QualityIssue:
    """An error that ended a worker's task, as an issue.

    Args:
        error: raised by the task.
        subject: the case, or `the models`.
    """
    if isinstance(error, LungSegError):
        return QualityIssue.of(error)
    if isinstance(error, MemoryError) or is_out_of_memory(str(error)):
        remedy = "Give more with --memory-limit, or crop the CT."
        return QualityIssue("E_OUT_OF_MEMORY", f"{subject}: memory ran out.", remedy)
    issue = QualityIssue.of(error, subject)
    # Without a full stop, as in the journals and records that earlier versions wrote.
    return replace(issue, message=issue.message.removesuffix("."))
