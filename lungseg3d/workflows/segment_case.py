"""One CT through the whole house: read, segmented, measured, checked, reported, written.

In: a path, opened models, a folder. Out: the files of one case and its `CaseResult`. Both `segment` and `batch` come
through here; `segment` runs the three parts of several cases at once, see `segment_line`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Compose

from lungseg3d.analysis import (
    NoduleMap,
    check_lungs,
    compare_lungs,
    measure_lungs,
    measure_nodules,
    segment_lungs_by_rules,
)
from lungseg3d.core import CaseResult, IntakeError, LungSegError, OutputError, QualityIssue, Volume
from lungseg3d.core.errors import fault_of
from lungseg3d.core.labels import NODULE
from lungseg3d.inference import SegmentLungsd
from lungseg3d.io import (
    Reading,
    find_source_series,
    is_out_of_memory,
    open_ct,
    placing_together,
    remove_unfinished,
    write_labels,
    write_text,
)
from lungseg3d.report import NoduleMaps, nodules_csv, render_html, result_json
from lungseg3d.tensors import orthogonalise, resample, to_meta_tensor, to_volume
from lungseg3d.workflows.dicom_objects import MASK_NAMES, NIFTI_NAMES, needs_dicom, with_objects, write_objects
from lungseg3d.workflows.memory_plan import reading_options
from lungseg3d.workflows.segment_extras import (
    EXTRA_FILES,
    Extras,
    doubt_nodules,
    explain_nodules,
    extra_files,
    write_extras,
)
from lungseg3d.workflows.segment_models import Models, provenance_of, range_issues
from lungseg3d.workflows.segment_options import SegmentOptions
from lungseg3d.workflows.stopped_case import write_stopped
from lungseg3d.workflows.stopwatch import Stopwatch, peak_memory_mib

logger = logging.getLogger(__name__)

Progress = Callable[[str, str, float], None]
QUALITY_SPACING_MM = 4.0
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


@dataclass(frozen=True)
class _Opened:
    """One CT as read, and the DICOM series that objects are to belong to; None where none are asked for."""

    reading: Reading
    series: Any


@dataclass(frozen=True)
class _Segmented:
    """What the networks made of one CT, on its own grid."""

    lungs: Volume
    labels: Volume
    nodules: Volume
    confidence: tuple[float, ...]
    extras: Extras


@dataclass(frozen=True)
class CaseJob:
    """One case to do.

    Attributes:
        source: the CT.
        case_id: its name.
        folder: of its results.
        options: of `segment`.
    """

    source: Path
    case_id: str
    folder: Path
    options: SegmentOptions


def segment_case(
    source: Path, case_id: str, folder: Path, models: Models, options: SegmentOptions, on_progress: Progress | None
) -> CaseResult:
    """Segment one CT and write its results into `folder`; whatever happens to it is in the record, and not raised.

    Returns:
        Its record: `done`, `refused` (the input) or `failed` (the program); always with timings and memory.
    """
    run = CaseRun(CaseJob(source, case_id, folder, options), models, on_progress)
    run.read()
    run.compute()
    return run.finish()


class CaseRun:
    """One case in three parts, one after the other; each may be another thread's, and none raises.

    Args:
        job: the case.
        models: opened for its options.
        on_progress: as in `segment_case`.
    """

    def __init__(self, job: CaseJob, models: Models, on_progress: Progress | None) -> None:
        self._job, self._models, self._on_progress = job, models, on_progress
        self._watch = Stopwatch(lambda step: on_progress and on_progress(job.case_id, step, _STEPS[step]))
        self._opened: _Opened | None = None
        self._found: _Segmented | None = None
        self._result: CaseResult | None = None

    def read(self) -> None:
        """The CT, from its files."""
        with self._recording_errors(), self._watch.step("read"):
            self._opened = _read(self._job)

    def compute(self) -> None:
        """Lungs and nodules, by the networks."""
        with self._recording_errors():
            if self._opened is not None:
                ct = self._opened.reading.volume
                self._found = _run_networks(ct, self._models, self._watch, self._job.options)

    def finish(self) -> CaseResult:
        """Measured, checked, reported and written; the record of the case, however it ended."""
        with self._recording_errors():
            if self._opened is not None and self._found is not None:
                self._result = _finished(self._opened, self._found, self._job, self._models, self._watch)
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
            status, issue = "refused" if isinstance(error, IntakeError) else "failed", _issue(error)
            # Where results cannot be written, or must not, a report cannot either.
            is_written = not isinstance(error, OutputError)
        except Exception as error:
            logger.debug("%s failed", job.case_id, exc_info=True)
            status, issue, is_written = "failed", _issue_of_fault(job.case_id, error), True
        self._opened = self._found = None
        stopped = CaseResult(job.case_id, status, issues=(issue,))
        extras = (*MASK_NAMES, *EXTRA_FILES)
        self._result = write_stopped(job.case_id, status, issue, job.folder, extras) if is_written else stopped


def _read(job: CaseJob) -> _Opened:
    remove_unfinished(job.folder)
    if job.folder.exists() and any(job.folder.iterdir()) and not job.options.overwrite:
        text = f"{job.case_id}: results are there already."
        raise OutputError("E_OUTPUT_EXISTS", text, "Pass --overwrite, or another --out.")
    reading = open_ct(job.source, reading_options(job.options))
    # Before the networks: what cannot be written as asked is refused at once.
    is_needed = needs_dicom(job.options.formats)
    return _Opened(reading, find_source_series(job.source, job.options.read) if is_needed else None)


def _finished(opened: _Opened, found: _Segmented, job: CaseJob, models: Models, watch: Stopwatch) -> CaseResult:
    reading, series, options, folder = opened.reading, opened.series, job.options, job.folder
    ct = reading.volume
    in_lungs = found.lungs if options.roi == "lungs" else None
    with ThreadPoolExecutor(1, "check") as beside:
        checking = beside.submit(_lung_issues, ct, found.labels, options)
        with watch.step("measure"):
            thickness_mm = reading.source.get("slice_thickness_mm")
            measured = measure_nodules(
                ct, found.nodules, lungs=in_lungs, confidence=found.confidence, slice_thickness_mm=thickness_mm
            )
            nodules = found.extras.added_to(models.confidences.added_to(measured))
            lungs = measure_lungs(found.labels) if in_lungs is not None else ()
        with watch.step("check"):
            ood_issues = range_issues(models, reading, in_lungs and found.labels)
            lung_issues = checking.result()
    nifti = NIFTI_NAMES if "nifti" in options.formats else ()
    extras = extra_files(options)
    result = CaseResult(
        case_id=job.case_id,
        status="done",
        source=reading.source,
        grid={"shape": ct.shape, "spacing_mm": ct.spacing_mm, "affine_ras": ct.affine},
        lungs=tuple(lungs),
        nodules=tuple(nodules),
        issues=(*reading.issues, *lung_issues, *ood_issues, *models.confidences.issues),
        provenance=provenance_of(models, options),
        timings_s=watch.seconds,
        peak_memory_mib=peak_memory_mib(),
        files=(*nifti, *extras, "nodules.csv", "result.json", "report.html"),
    )
    objects: dict[str, Any] = {}
    if series is not None:
        with watch.step("objects"):
            result, objects = with_objects(result, found.labels, found.nodules, series, options.formats)
    shown = result if options.write_timings else replace(result, timings_s={}, peak_memory_mib=None)
    with watch.step("report"):
        maps = NoduleMaps(found.extras.entropies, found.extras.explanations)
        page = render_html(shown, ct, found.labels, found.nodules, maps, options.settings.low)
    # The record last, so that a folder with a record is a complete one.
    stale = [name for name in (*MASK_NAMES, *EXTRA_FILES) if name not in result.files]
    with watch.step("write"), placing_together(folder, last="result.json", stale=stale) as stage:
        for name, volume in zip(nifti, (found.labels, found.nodules), strict=False):
            write_labels(stage / name, volume)
        write_objects(stage, objects)
        write_extras(stage, found.extras, ct, extras)
        write_text(stage / "nodules.csv", nodules_csv(result))
        write_text(stage / "report.html", page)
        write_text(stage / "result.json", result_json(shown))
    return result


def _run_networks(ct: Volume, models: Models, watch: Stopwatch, options: SegmentOptions) -> _Segmented:
    """The bundle's own steps, each timed; then what is asked beyond them."""
    data: dict[str, Any] = {"image": to_meta_tensor(ct)}
    name = "lungs"
    for step in models.nodules.preprocessing.transforms:
        with watch.step(name):
            data = Compose([step])(data)  # Compose maps over lists and names the step that fails
        # What comes before the lungs counts to them, so that progress never goes back.
        name = "prepare" if isinstance(step, SegmentLungsd) else name
    with watch.step("nodules"):
        data = models.nodules.postprocessing(models.nodules.infer(data))
    # A whole map of a large CT is hundreds of MiB: none is held twice, or longer than it is asked for.
    nodules, lungs = to_volume(data["nodules"]), to_volume(data["lungs"])
    data = {name: data[name] for name in ("image", "nodules", "labels")}
    found = NoduleMap(nodules.with_array(_as_uint16(nodules.array)), tuple(data["nodules"].meta["confidence"]))
    kept = models.confidences.kept(found)
    extras = Extras()
    if options.uncertainty:
        with watch.step("uncertainty"):
            extras = replace(extras, doubts=doubt_nodules(models.nodules, data["image"], kept.labels))
    if options.explain:
        with watch.step("explain"):
            extras = replace(extras, explanations=explain_nodules(models.nodules, data["image"], kept.labels))
    labels = to_volume(data["labels"])
    if kept is not found:
        labels = lungs.with_array(lungs.array.copy(order="K"))
        np.copyto(labels.array, NODULE.value, where=kept.labels.array > 0)
    return _Segmented(lungs, labels, kept.labels, kept.confidence, extras)


def _as_uint16(nodules: np.ndarray) -> np.ndarray:
    """A nodule map as it is written; torch holds it as int16, which is the same bits."""
    return nodules.view(np.uint16) if nodules.dtype == np.int16 else nodules.astype(np.uint16)


def _lung_issues(ct: Volume, labels: Volume, options: SegmentOptions) -> list[QualityIssue]:
    """What is odd about the lungs; nothing for a crop, which shows no whole lung."""
    if options.roi == "full":
        return []
    coarse_ct = resample(orthogonalise(ct), QUALITY_SPACING_MM)
    coarse_labels = resample(orthogonalise(labels, order=0, fill=0), QUALITY_SPACING_MM, labels=True)
    by_rules = segment_lungs_by_rules(coarse_ct)
    return [*check_lungs(labels), *compare_lungs(coarse_labels, by_rules)]


def _issue(error: LungSegError) -> QualityIssue:
    return QualityIssue(error.code, error.message, error.remedy)


def _issue_of_fault(case_id: str, error: Exception) -> QualityIssue:
    # PyTorch says a want of memory by RuntimeErrors: of the CPU's allocator, of oneDNN, of CUDA.
    if isinstance(error, MemoryError) or is_out_of_memory(str(error)):
        return QualityIssue("E_OUT_OF_MEMORY", f"{case_id}: memory ran out.", "Crop the CT, or use a larger machine.")
    return QualityIssue("E_UNEXPECTED", f"{case_id}: {fault_of(error)}.", "Please report this.")
