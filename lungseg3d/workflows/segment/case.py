"""One CT through the whole house: read, segmented, measured, checked, reported, written.

In: a path, opened models, a folder. Out: the files of one case and its `CaseResult`. Both `segment` and `batch` come
through here; `segment` runs the three parts of several cases at once, see `segment_line`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from lungseg3d.core import CaseResult, IntakeError, LungSegError, OutputError, QualityIssue
from lungseg3d.core.progress import OnProgress
from lungseg3d.core.stopwatch import Stopwatch
from lungseg3d.io import is_out_of_memory
from lungseg3d.workflows.segment.extras import EXTRA_FILES
from lungseg3d.workflows.segment.formats import MASK_NAMES
from lungseg3d.workflows.segment.job import CaseJob, OpenedCase, open_case
from lungseg3d.workflows.segment.models import Models
from lungseg3d.workflows.segment.networks import Segmented, run_networks
from lungseg3d.workflows.segment.options import SegmentOptions
from lungseg3d.workflows.segment.results import write_results
from lungseg3d.workflows.segment.stopped import write_stopped

logger = logging.getLogger(__name__)

_STEPS = {
    "read": 0.0,
    "lungs": 0.1,
    "prepare": 0.3,
    "nodules": 0.4,
    "uncertainty": 0.72,
    "explain": 0.75,
    "measure": 0.78,
    "check": 0.82,
    "objects": 0.84,
    "report": 0.85,
    "write": 0.95,
}


def segment_case(
    source: Path, case_id: str, folder: Path, models: Models, options: SegmentOptions, on_progress: OnProgress | None
) -> CaseResult:
    """Segment one CT and write its results into `folder`; whatever happens to it is in the record, and not raised.

    Returns:
        Its record: `done`, `refused` (the input) or `failed` (the program); always with timings and memory.
    """
    run = CaseRun(CaseJob(source, case_id, folder, options), models, on_progress)
    run.read()
    run.compute()
    return run.finish()


def refuse_case(job: CaseJob, on_progress: OnProgress | None = None) -> CaseResult:
    """The record of a case whose input does not fit what is asked, as reading it says; no model is needed.

    Returns:
        `refused` or `failed`.
    """
    run = CaseRun(job, None, on_progress)
    run.read()
    return run.finish()


class CaseRun:
    """One case in three parts, one after the other; each may be another thread's, and none raises.

    Args:
        job: the case.
        models: opened for its options; None for a case that is refused anyway.
        on_progress: as in `segment_case`.
    """

    def __init__(self, job: CaseJob, models: Models | None, on_progress: OnProgress | None) -> None:
        self._job, self._models, self._on_progress = job, models, on_progress
        self._watch = Stopwatch(lambda step: on_progress and on_progress(job.case_id, step, _STEPS[step]))
        self._opened: OpenedCase | None = None
        self._found: Segmented | None = None
        self._result: CaseResult | None = None

    def read(self) -> None:
        """The CT, from its files."""
        with self._recording_errors(), self._watch.step("read"):
            self._opened = open_case(self._job)

    def compute(self) -> None:
        """Lungs and nodules, by the networks."""
        with self._recording_errors():
            if self._opened is not None and self._models is not None:
                ct = self._opened.reading.volume
                self._found = run_networks(ct, self._models, self._watch, self._job.options)

    def finish(self) -> CaseResult:
        """Measured, checked, reported and written; the record of the case, however it ended."""
        with self._recording_errors():
            if self._opened is not None and self._found is not None and self._models is not None:
                self._result = write_results(self._opened, self._found, self._job, self._models, self._watch)
        self._opened = self._found = None
        assert self._result is not None
        if self._on_progress:
            self._on_progress(self._job.case_id, self._result.status, 1.0)
        return self._result

    @contextlib.contextmanager
    def _recording_errors(self) -> Iterator[None]:
        """What goes wrong inside becomes the record, and the parts that follow have nothing to do."""
        job = self._job
        try:
            yield
            return
        except LungSegError as error:
            status, issue = "refused" if isinstance(error, IntakeError) else "failed", QualityIssue.of(error)
            # Where results cannot be written, or must not, a report cannot either.
            is_written = not isinstance(error, OutputError)
        except Exception as error:
            logger.debug("%s failed", job.case_id, exc_info=True)
            status, issue, is_written = "failed", _issue_of_fault(job.case_id, error), True
        self._opened = self._found = None
        stopped = CaseResult(job.case_id, status, issues=(issue,))
        extras = (*MASK_NAMES, *EXTRA_FILES)
        self._result = write_stopped(job.case_id, status, issue, job.folder, extras) if is_written else stopped


def _issue_of_fault(case_id: str, error: Exception) -> QualityIssue:
    # PyTorch says a want of memory by RuntimeErrors: of the CPU's allocator, of oneDNN, of CUDA.
    if isinstance(error, MemoryError) or is_out_of_memory(str(error)):
        return QualityIssue("E_OUT_OF_MEMORY", f"{case_id}: memory ran out.", "Crop the CT, or use a larger machine.")
    return QualityIssue.of(error, case_id)
