"""One case of a batch, as a worker does it: hashed, segmented into a folder of its own, its outputs hashed.

In: a `Task`. Out: an `Outcome`, whatever happens short of the death of the process. Who started the worker gives the
folder its final name and writes the record. Knows no process and no journal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from lungseg3d.core import CaseResult, QualityIssue
from lungseg3d.core.remedies import offer, offered_options
from lungseg3d.io import APART, CaseSource, ReadOptions, begin_decoding, remove_folder, sha256_of, signature_of
from lungseg3d.workflows.segment.options import SegmentOptions
from lungseg3d.workflows.segment.stopped import write_stopped

OnStep = Callable[[str, float], None]


@dataclass(frozen=True)
class Task:
    """One case to do, and the folder to do it in, which does not exist yet."""

    case_id: str
    source: CaseSource
    folder: Path


@dataclass(frozen=True)
class Output:
    """One file of a case."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        status: `done`, `no_lungs`, `refused` (the input) or `failed` (the program).
        issues: what a reader of the result must know.
        input_sha256, input_signature: of the input as it was before it was read; empty where it cannot be.
        outputs: the files in the task's folder, by name.
        measures: `nodules` (listed ones), `candidates`, `largest_mm` (long axis, of the listed ones), `right_lung_ml`,
            `left_lung_ml`; those that are known, so none without lungs.
        timings_s: seconds by step.
        peak_memory_mib: largest resident memory of the worker so far.
    """

    case_id: str
    status: str
    issues: tuple[QualityIssue, ...] = ()
    input_sha256: str = ""
    input_signature: str = ""
    outputs: tuple[Output, ...] = ()
    measures: dict[str, Any] = field(default_factory=dict)
    timings_s: dict[str, float] = field(default_factory=dict)
    peak_memory_mib: float | None = None


SegmentFunction = Callable[[Task, OnStep], CaseResult]


class Segmenter(Protocol):
    """What a worker is given: it opens the models there, once."""

    @property
    def preload(self) -> tuple[str, ...]:
        """Modules that are loaded once and shared by all workers of a machine."""

    @property
    def start_method(self) -> str:
        """Of `multiprocessing`."""

    def open(self) -> SegmentFunction:
        """Open the models and return what segments one case.

        Raises:
            LungSegError: they cannot be opened.
        """
        ...


@dataclass(frozen=True)
class CaseSegmenter:
    """`segment_case` with models opened once.

    Args:
        options: of `segment`.
        threads: of PyTorch in each worker; the same number gives the same bytes, whatever the number of workers.
        offered: options that remedies may name, in workers on other machines, too.
    """

    options: SegmentOptions
    threads: int = 1
    offered: frozenset[str] | None = field(default_factory=offered_options)
    preload: tuple[str, ...] = ("lungseg3d.workflows.segment.case",)

    @property
    def start_method(self) -> str:
        """Forked from a process that has loaded everything, which takes no time; CUDA survives no fork."""
        may_use_cuda = self.options.device.startswith("cuda") or (
            self.options.device == "auto" and Path("/dev/nvidiactl").exists()
        )
        return "spawn" if may_use_cuda else "forkserver"

    def open(self) -> SegmentFunction:
        """Load PyTorch, open the bundles."""
        offer(self.offered)
        if self.options.read.decode == APART:
            begin_decoding()
        import torch

        from lungseg3d.workflows.segment.case import segment_case
        from lungseg3d.workflows.segment.models import open_models

        torch.set_num_threads(self.threads)
        own = replace(self.options, write_timings=False, overwrite=False)
        models = open_models(own)

        def segment(task: Task, on_step: OnStep) -> CaseResult:
            options = replace(own, read=read_options_for(task.source, own.read))
            return segment_case(
                task.source.path, task.case_id, task.folder, models, options, lambda _, step, part: on_step(step, part)
            )

        return segment


def read_options_for(source: CaseSource, read: ReadOptions) -> ReadOptions:
    """How one case is to be read, where `read` holds for all: its study or series, and its links."""
    read = replace(read, study=source.study or None, series=source.series or read.series)
    if source.rule is None:
        return read
    return replace(read, follow_links=source.rule.anywhere, links_within=source.rule.inside)


def do_task(segment: SegmentFunction, task: Task, on_step: OnStep) -> Outcome:
    """Do one case; what lies in its folder afterwards is what the outcome lists."""
    on_step("hash", 0.0)
    before, input_sha256 = _state(task.source)
    result = segment(task, on_step)
    if before and _state(task.source, read=False)[0] != before:
        text = f"{task.case_id}: the input changed while it was being read."
        result = stop(task, QualityIssue("E_INPUT_CHANGED", text, "Run it again when its files are complete."))
    return Outcome(
        task.case_id,
        result.status,
        result.issues,
        input_sha256,
        before,
        outputs_in(task.folder),
        _measures(result),
        dict(result.timings_s),
        result.peak_memory_mib,
    )


def stop(task: Task, issue: QualityIssue) -> CaseResult:
    """The record of a case that failed outside `segment`, in the task's folder in place of whatever lies there.

    Raises:
        OSError: what lies there cannot be removed.
    """
    remove_folder(task.folder)
    return write_stopped(task.case_id, "failed", issue, task.folder)


def outputs_in(folder: Path) -> tuple[Output, ...]:
    """Every file under a case's folder with its SHA-256, by name; none where there is no folder.

    Raises:
        OSError: one cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(Output(path.relative_to(folder).as_posix(), sha256_of(path), path.stat().st_size) for path in files)


def _state(source: CaseSource, read: bool = True) -> tuple[str, str]:
    """Signature and SHA-256 of an input, both empty where it cannot be read, which its reader will say better."""
    try:
        signature = signature_of(source.path, source.rule)
        return signature, sha256_of(source.path, source.rule) if read else ""
    except OSError:
        return "", ""


def _measures(result: CaseResult) -> dict[str, Any]:
    if result.status != "done":
        return {}
    lungs = {f"{lung.name}_ml": round(lung.volume_ml, 1) for lung in result.lungs}
    largest = max((nodule.long_axis_mm for nodule in result.nodules), default=None)
    found: dict[str, Any] = {"nodules": len(result.nodules), "candidates": len(result.candidates), **lungs}
    return found if largest is None else found | {"largest_mm": round(largest, 2)}
