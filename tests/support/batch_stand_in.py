"""A segmenter for tests of batches: real reading and writing, a threshold in place of the networks; and its faults.

In: tasks. Out: results within milliseconds, the same for the same input. Faults are asked for by the input's name:
`raise`, `hang`, `greedy` (takes all memory), `killed`, `abort`, `altered` (while it is read); `lungless` finds no lung,
`nodules` two listed nodules and a larger candidate.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lungseg3d.core import CaseResult, IntakeError, Lung, QualityIssue, Volume
from lungseg3d.io import ReadOptions, open_ct, placing_together, write_labels, write_text, write_volume
from lungseg3d.report import nodules_csv, result_json
from lungseg3d.workflows.batch_state.case import OnStep, Task, read_options_for
from lungseg3d.workflows.segment.stopped import write_stopped
from tests.support.nodule_records import measured_nodule

FILES = ["labels.nii.gz", "nodules.csv", "report.html", "result.json"]


@dataclass(frozen=True)
class StandIn:
    """A `Segmenter` without a network.

    Args:
        delay_s: that each case takes.
        begun: folder in which each case that begins leaves a file of its name, one for each time; None leaves none.
        fault: raised when the models are opened.
    """

    delay_s: float = 0.0
    begun: Path | None = None
    fault: Exception | None = None
    preload: tuple[str, ...] = ("lungseg3d.report", "lungseg3d.io", "lungseg3d.workflows.segment.stopped")
    start_method: str = "forkserver"

    def open(self) -> Callable[[Task, OnStep], CaseResult]:
        """Ready at once."""
        if self.fault is not None:
            raise self.fault
        return self._segment

    def _segment(self, task: Task, on_step: OnStep) -> CaseResult:
        if self.begun is not None:
            (self.begun / f"{task.case_id}-{time.monotonic_ns()}-{os.getpid()}").touch()
        on_step("read", 0.0)
        _fault_of(task.source.path)
        try:
            reading = open_ct(task.source.path, read_options_for(task.source, ReadOptions()))
        except IntakeError as error:
            issue = QualityIssue(error.code, error.message, error.remedy)
            return write_stopped(task.case_id, "refused", issue, task.folder)
        on_step("nodules", 0.5)
        time.sleep(self.delay_s)
        lungs = reading.volume.array < -500
        volume_ml = float(lungs.sum()) * reading.volume.voxel_volume_mm3 / 1000
        lung = Lung("right_lung", volume_ml)
        result = CaseResult(task.case_id, "done", lungs=(lung,), issues=reading.issues, files=tuple(FILES))
        if "lungless" in task.source.path.name:
            issue = QualityIssue("W_NO_LUNG", "0 ml of lung is labelled.", "Use --roi full.")
            result = replace(result, status="no_lungs", lungs=(), issues=(issue,))
        if "nodules" in task.source.path.name:
            listed = measured_nodule(1, long_axis_mm=8.0), measured_nodule(2, long_axis_mm=12.5)
            beside = measured_nodule(3, long_axis_mm=32.0, reason="hilar-vessel")
            result = replace(result, nodules=listed, candidates=(beside,))
        with placing_together(task.folder, last="result.json") as stage:
            write_labels(stage / "labels.nii.gz", reading.volume.with_array(lungs.astype(np.uint8)))
            write_text(stage / "nodules.csv", nodules_csv(result))
            write_text(stage / "report.html", f"<p>{task.case_id}: {volume_ml:.3f} ml</p>")
            write_text(stage / "result.json", result_json(result))
        return result


def _fault_of(path: Path) -> None:
    name = path.name
    if "altered" in name:
        os.utime(path, (1, 1))
    if "raise" in name:
        raise RuntimeError(f"this is a bug in {path}")
    if "hang" in name:
        time.sleep(3600)
    if "greedy" in name:
        bytearray(2**40)
    if "killed" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "abort" in name:
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
        os.abort()


def contents(folder: Path, leave_out: tuple[str, ...] = ("journal.db", ".lock")) -> dict[str, bytes]:
    """Every file under a batch's folder that must be the same in every run, by its relative path."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(files.items()) if name not in leave_out}


def write_ct(path: Path, seed: int) -> Path:
    """A small CT of noise between air and tissue, its own for each seed."""
    random = np.random.default_rng(seed)
    hu = random.normal(40, 20, (12, 12, 12)).astype(np.int16)
    hu[2:9, 2:9, 2:9] = random.normal(-850, 30, (7, 7, 7)).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, Volume(hu, np.diag([2.0, 2, 2, 1])))
    return path


def main() -> None:
    """`python -m tests.support.batch_stand_in SOURCE OUT WORKERS DELAY_S BEGUN`: a batch as a program of its own."""
    import sys

    from lungseg3d.workflows.batch.plan import Selection
    from lungseg3d.workflows.batch.run import batch
    from lungseg3d.workflows.batch_state.records import BatchOptions

    source, out, workers, delay_s, begun = sys.argv[1:]
    segmenter = StandIn(float(delay_s), Path(begun))
    done = batch(Selection(source), out, BatchOptions(workers=int(workers)), None, segmenter)
    sys.exit(128 + done.stopped_by if done.stopped_by else 0)


if __name__ == "__main__":
    main()
