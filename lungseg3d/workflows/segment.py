"""`segment`: CTs in; lungs and nodules segmented, measured, written and reported, one folder a case.

In: paths and options. Out: `CaseResult`s, and `<out>/<case_id>/` for each. One bad case never stops the others.
"""

from __future__ import annotations

import logging
import platform
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from lungseg3d.analysis import check_lungs, compare_lungs, measure_lungs, measure_nodules, segment_lungs_by_rules
from lungseg3d.core import BundleError, CaseResult, IntakeError, LungSegError, OutputError, QualityIssue, Volume
from lungseg3d.inference import Bundle, SegmentLungsd, open_bundle, shipped_bundle
from lungseg3d.io import ReadOptions, case_id_of, list_studies, open_ct, write_labels, write_text
from lungseg3d.report import nodules_csv, render_html, render_refusal, result_json
from lungseg3d.tensors import orthogonalise, resample, resolve_precision, to_meta_tensor, to_volume
from lungseg3d.workflows.stopwatch import Stopwatch

logger = logging.getLogger(__name__)

Progress = Callable[[str, str, float], None]
QUALITY_SPACING_MM = 2.5
_STEPS = {
    "read": 0.0,
    "lungs": 0.1,
    "prepare": 0.3,
    "nodules": 0.4,
    "measure": 0.78,
    "check": 0.82,
    "report": 0.85,
    "write": 0.95,
}


@dataclass(frozen=True)
class SegmentOptions:
    """What may be asked of `segment`.

    Attributes:
        roi: `lungs` finds the lungs first; `full` takes the whole volume, for crops.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        lung_bundle, nodule_bundle: bundle folders; None takes the shipped ones.
        overwrite: replace the results of an earlier run.
        recursive: a folder that holds several studies is several cases.
        read: how CTs are read.
    """

    roi: str = "lungs"
    device: str = "auto"
    precision: str = "auto"
    lung_bundle: Path | None = None
    nodule_bundle: Path | None = None
    overwrite: bool = False
    recursive: bool = False
    read: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True)
class _Models:
    """The opened bundles and how they run."""

    nodules: Bundle
    lungs: Bundle | None
    device: torch.device
    precision: str


@dataclass(frozen=True)
class _Segmented:
    """What the networks made of one CT, on its own grid."""

    lungs: Volume
    labels: Volume
    nodules: Volume
    confidence: tuple[float, ...]


def segment_cases(
    inputs: Sequence[Path | str],
    out: Path | str,
    options: SegmentOptions = SegmentOptions(),
    on_progress: Progress | None = None,
) -> list[CaseResult]:
    """Segment each input and write `<out>/<case_id>/`; the models are loaded once.

    Args:
        inputs: DICOM folders, NIfTI, NRRD or MetaImage files.
        out: folder of the results; made when it does not exist.
        options: see `SegmentOptions`.
        on_progress: called with case id, step and the done fraction of the case, 0 to 1.

    Returns:
        One record an input (with `recursive`, a study), in order: `done`, `refused` (the input) or `failed` (the
        program).

    Raises:
        BundleError: the models cannot be opened; nothing was written.
        OutputError: E_WRITE when `out` cannot be made.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError("E_WRITE", f"{out}: {error.strerror}", "Choose another --out.") from error
    models = _open_models(options)
    results: list[CaseResult] = []
    taken: list[str] = []
    for source in inputs:
        for own_options in _by_study(Path(source), options):
            case_id = case_id_of(Path(source), taken=taken)
            taken.append(case_id)
            results.append(_segment_one(Path(source), case_id, out / case_id, models, own_options, on_progress))
    return results


def _by_study(source: Path, options: SegmentOptions) -> list[SegmentOptions]:
    """The options for each study of an input: one, unless there are several and `recursive` asks for all."""
    studies = list_studies(source) if options.recursive else ()
    if len(studies) < 2:
        return [options]
    return [replace(options, read=replace(options.read, study=uid)) for uid in studies]


def _open_models(options: SegmentOptions) -> _Models:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise BundleError("E_DEVICE", "no CUDA device is available to PyTorch", "Use --device cpu or auto.")
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(automatic if options.device == "auto" else options.device)
    precision = resolve_precision(options.precision, device)
    lung_root = options.lung_bundle or shipped_bundle("lung_ct_segmentation")
    nodule_root = options.nodule_bundle or shipped_bundle("lung_nodule_ct_segmentation")
    nodules = open_bundle(
        nodule_root, skip=1, lung_bundle_root=str(lung_root), roi=options.roi, device=device, precision=precision
    )
    lungs = next(step.bundle for step in nodules.preprocessing.transforms if isinstance(step, SegmentLungsd))
    return _Models(nodules, lungs, device, precision)


def _segment_one(
    source: Path, case_id: str, folder: Path, models: _Models, options: SegmentOptions, on_progress: Progress | None
) -> CaseResult:
    """One case, whatever happens to it."""
    watch = Stopwatch(lambda step: on_progress and on_progress(case_id, step, _STEPS[step]))
    try:
        if folder.exists() and any(folder.iterdir()) and not options.overwrite:
            raise OutputError(
                "E_OUTPUT_EXISTS", f"{case_id}: results are there already.", "Pass --overwrite, or another --out."
            )
        result = _done(source, case_id, folder, models, options, watch)
    except OutputError as error:
        # Where results cannot be written, or must not, a report cannot either.
        return CaseResult(case_id, "failed", issues=(_issue(error),))
    except IntakeError as error:
        result = _stopped(case_id, "refused", _issue(error), folder)
    except LungSegError as error:
        result = _stopped(case_id, "failed", _issue(error), folder)
    except MemoryError:
        issue = QualityIssue("E_OUT_OF_MEMORY", f"{case_id}: memory ran out.", "Crop the CT, or use a larger machine.")
        result = _stopped(case_id, "failed", issue, folder)
    except Exception as error:
        logger.debug("%s failed", case_id, exc_info=True)
        text = f"{case_id}: {type(error).__name__}: {error}".splitlines()[0]
        result = _stopped(case_id, "failed", QualityIssue("E_UNEXPECTED", text, "Please report this."), folder)
    if on_progress:
        on_progress(case_id, result.status, 1.0)
    return result


def _done(
    source: Path, case_id: str, folder: Path, models: _Models, options: SegmentOptions, watch: Stopwatch
) -> CaseResult:
    with watch.step("read"):
        reading = open_ct(source, options.read)
    ct = reading.volume
    found = _run_networks(ct, models, watch)
    with watch.step("measure"):
        in_lungs = found.lungs if options.roi == "lungs" else None
        nodules = measure_nodules(ct, found.nodules, lungs=in_lungs, confidence=found.confidence)
        lungs = measure_lungs(found.labels) if in_lungs is not None else ()
    with watch.step("check"):
        lung_issues = _lung_issues(ct, found.labels, options)
    files = ("labels.nii.gz", "nodules.nii.gz", "nodules.csv", "result.json", "report.html")
    result = CaseResult(
        case_id=case_id,
        status="done",
        source=reading.source,
        grid={"shape": ct.shape, "spacing_mm": ct.spacing_mm, "affine_ras": ct.affine},
        lungs=tuple(lungs),
        nodules=tuple(nodules),
        issues=(*reading.issues, *lung_issues),
        provenance=_provenance(models, options),
        timings_s=watch.seconds,
        peak_memory_mib=_peak_memory_mib(),
        files=files,
    )
    with watch.step("report"):
        page = render_html(result, ct, found.labels, found.nodules)
    with watch.step("write"):
        folder.mkdir(parents=True, exist_ok=True)
        write_labels(folder / "labels.nii.gz", found.labels)
        write_labels(folder / "nodules.nii.gz", found.nodules)
        write_text(folder / "nodules.csv", nodules_csv(result))
        write_text(folder / "report.html", page)
        # Last, so that a folder with a record is a complete one.
        write_text(folder / "result.json", result_json(result))
    return result


def _run_networks(ct: Volume, models: _Models, watch: Stopwatch) -> _Segmented:
    """The bundle's own steps, each timed."""
    data: dict[str, Any] = {"image": to_meta_tensor(ct)}
    name = "lungs"
    for step in models.nodules.preprocessing.transforms:
        with watch.step(name):
            data = Compose([step])(data)  # Compose maps over lists and names the step that fails
        # What comes before the lungs counts to them, so that progress never goes back.
        name = "prepare" if isinstance(step, SegmentLungsd) else name
    with watch.step("nodules"):
        data = models.nodules.postprocessing(models.nodules.infer(data))
    nodules = to_volume(data["nodules"])
    return _Segmented(
        lungs=to_volume(data["lungs"]),
        labels=to_volume(data["labels"]),
        nodules=nodules.with_array(nodules.array.astype(np.uint16)),
        confidence=tuple(data["nodules"].meta["confidence"]),
    )


def _lung_issues(ct: Volume, labels: Volume, options: SegmentOptions) -> list[QualityIssue]:
    """What is odd about the lungs; nothing for a crop, which shows no whole lung."""
    if options.roi == "full":
        return []
    coarse_ct = resample(orthogonalise(ct), QUALITY_SPACING_MM)
    coarse_labels = resample(orthogonalise(labels, order=0, fill=0), QUALITY_SPACING_MM, labels=True)
    by_rules = segment_lungs_by_rules(coarse_ct)
    return [*check_lungs(labels), *compare_lungs(coarse_labels, by_rules)]


def _provenance(models: _Models, options: SegmentOptions) -> dict[str, Any]:
    bundles = {"nodules": models.nodules, **({"lungs": models.lungs} if models.lungs else {})}
    return {
        "versions": {name: version(name) for name in ("lungseg3d", "torch", "monai")}
        | {"python": platform.python_version()},
        "bundles": {
            role: {"name": bundle.name, "version": bundle.version, "weights_sha256": bundle.weights_sha256}
            | ({"outline_sha256": bundle.outline_sha256} if bundle.outline_sha256 else {})
            for role, bundle in bundles.items()
        },
        "options": {"roi": options.roi, "device": models.device.type, "precision": models.precision},
    }


def _stopped(case_id: str, status: str, issue: QualityIssue, folder: Path) -> CaseResult:
    """The record of a case that came to nothing, written where its results would be."""
    result = CaseResult(case_id, status, issues=(issue,), files=("result.json", "report.html"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in ("labels.nii.gz", "nodules.nii.gz", "nodules.csv"):
            (folder / stale).unlink(missing_ok=True)
        write_text(folder / "report.html", render_refusal(result))
        write_text(folder / "result.json", result_json(result))
    except (OutputError, OSError):
        logger.warning("%s: its record could not be written", case_id)
    return result


def _issue(error: LungSegError) -> QualityIssue:
    return QualityIssue(error.code, error.message, error.remedy)


def _peak_memory_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
