"""`segment`: CTs in; lungs and nodules segmented, measured, written and reported, one folder a case.

In: paths and options. Out: `CaseResult`s, and `<out>/<case_id>/` for each. One bad case never stops the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lungseg3d.core import CaseResult
from lungseg3d.io import case_id_of, check_writable, list_studies
from lungseg3d.workflows.segment_case import Progress, segment_case
from lungseg3d.workflows.segment_models import open_models
from lungseg3d.workflows.segment_options import SegmentOptions

__all__ = ["Progress", "SegmentOptions", "segment_cases"]


def segment_cases(
    inputs: Sequence[Path | str],
    out: Path | str,
    options: SegmentOptions = SegmentOptions(),  # noqa: B008 - frozen
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
        OutputError: E_WRITE, E_NO_SPACE when no file can be made in `out`.
    """
    out = Path(out)
    check_writable(out)
    models = open_models(options)
    if on_progress:
        plan = models.plan
        on_progress("", f"networks by {plan.backend} in {plan.precision} on {models.device.type}: {plan.reason}", 0.0)
    results: list[CaseResult] = []
    taken: list[str] = []
    for source in inputs:
        for own_options in _by_study(Path(source), options):
            case_id = case_id_of(Path(source), taken=taken)
            taken.append(case_id)
            results.append(segment_case(Path(source), case_id, out / case_id, models, own_options, on_progress))
    return results


def _by_study(source: Path, options: SegmentOptions) -> list[SegmentOptions]:
    """The options for each study of an input: one, unless there are several and `recursive` asks for all."""
    studies = list_studies(source) if options.recursive else ()
    if len(studies) < 2:
        return [options]
    return [replace(options, read=replace(options.read, study=uid)) for uid in studies]
