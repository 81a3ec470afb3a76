"""What goes into a batch and what comes out of it, for those who call it and those who watch it.

In: nothing. Out: `BatchOptions`, `BatchState`, `BatchDone`. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungseg3d.workflows.batch_state.case import Outcome
from lungseg3d.workflows.batch_state.journal import Record
from lungseg3d.workflows.segment.options import SegmentOptions


@dataclass(frozen=True)
class BatchOptions:
    """What may be asked of `batch`.

    Attributes:
        segment: what may be asked of `segment`; its `overwrite` does cases again whose input, model or options are
            other than those of their results, and no others.
        workers: processes that each do one case at a time; 0 takes as many as there is room for.
        threads: of each worker; part of what the results depend on.
        time_limit_s: of one case.
        memory_limit_gib: address space of one worker, CPU only; None sets no limit.
        engine: `local`, or `ray` for a cluster.
        address: of the Ray cluster; None starts one on this machine.
        gpus_per_worker: GPUs that each worker of a Ray cluster has for itself; fractions share one.
        track: tell an MLflow store about it.
    """

    segment: SegmentOptions = field(default_factory=SegmentOptions)
    workers: int = 0
    threads: int = 1
    time_limit_s: float = 3600.0
    memory_limit_gib: float | None = None
    engine: str = "local"
    address: str | None = None
    gpus_per_worker: float = 0.0
    track: bool = False


@dataclass(frozen=True)
class BatchState:
    """How far a batch is.

    Attributes:
        total: cases in all; `skipped` of them were done before.
        counts: status -> cases that ended in this run.
        running: case id -> step and done fraction.
        seconds: since the work began.
        last: how the case ended that ended just now; None at other times.
        searched: files that were looked at for cases, while these are still being found; None once they are.
    """

    total: int
    skipped: int
    counts: Mapping[str, int]
    running: Mapping[str, tuple[str, float]]
    seconds: float
    last: Outcome | None = None
    searched: int | None = None

    @property
    def ended(self) -> int:
        """Cases that ended in this run."""
        return sum(self.counts.values())

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at the pace so far; None before the first case has ended."""
        return self.seconds / self.ended * (self.total - self.skipped - self.ended) if self.ended else None


OnBatchState = Callable[[BatchState], Any]


@dataclass(frozen=True)
class BatchDone:
    """What came of a batch.

    Attributes:
        records: of the journal, by case id.
        page: `index.html`.
        skipped: cases that were done before.
        ignored: files of the source that are none of any case.
        stopped_by: number of the signal that ended it early; None when it came to its end.
    """

    records: Mapping[str, Record]
    page: Path
    skipped: int
    ignored: int
    stopped_by: int | None = None
