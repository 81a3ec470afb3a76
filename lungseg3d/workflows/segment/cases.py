"""`segment`: CTs in; lungs and nodules segmented, measured, written and reported, one folder a case.

In: paths and options. Out: `CaseResult`s, and `<out>/<case_id>/` for each. One bad case never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lungseg3d.core import CaseResult, LungSegError
from lungseg3d.core.progress import OnProgress
from lungseg3d.io import CaseFolder, as_paths, case_id_of, check_writable, find_twin, list_studies
from lungseg3d.workflows.segment.case import refuse_case
from lungseg3d.workflows.segment.formats import cannot_be_made
from lungseg3d.workflows.segment.job import CaseJob
from lungseg3d.workflows.segment.models import open_models
from lungseg3d.workflows.segment.options import SegmentOptions, check_places
from lungseg3d.workflows.segment.pipeline import segment_line

__all__ = ["SegmentOptions", "segment_cases"]


def segment_cases(
    inputs: Path | str | Sequence[Path | str],
    out: Path | str,
    options: SegmentOptions = SegmentOptions(),  # noqa: B008 - frozen
    on_progress: OnProgress | None = None,
) -> list[CaseResult]:
    """Segment each input and write `<out>/<case_id>/`; the models are loaded once, and several inputs overlap.

    Args:
        inputs: DICOM folders, NIfTI, NRRD or MetaImage files; a single path is one input.
        out: folder of the results; made when it does not exist.
        options: see `SegmentOptions`.
        on_progress: called with case id, step and the done fraction of the case, 0 to 1; of several cases in turn.

    Returns:
        One record an input (with `recursive`, a study), in order: `done`, `refused` (the input) or `failed` (the
        program).

    Raises:
        UsageError: E_BAD_OPTION for places that are none, or voxels of one CT where there are several; nothing was
            written.
        LungSegError: E_DUPLICATE_CASE for one input in two spellings; nothing was written.
        BundleError: the models cannot be opened; nothing was written.
        OutputError: E_WRITE, E_NO_SPACE when no file can be made in `out`.
    """
    out, paths = Path(out), as_paths(inputs)
    check_places(options, is_one_ct=len(paths) == 1 and not options.recursive)
    _check_each_once(paths)
    check_writable(out)
    jobs = _jobs(paths, out, options)
    if cannot_be_made(paths, options.formats):
        # No model is opened to say that nothing can be segmented as asked.
        return [refuse_case(job, on_progress) for job in jobs]
    models = open_models(options)
    if on_progress:
        plan = models.plan
        on_progress("", f"networks by {plan.backend} in {plan.precision} on {models.device.type}: {plan.reason}", 0.0)
    is_line = (len(paths) > 1 or options.recursive) and options.max_memory_gib is None
    return segment_line(jobs, models, on_progress, ahead=is_line)


def segment_or_refuse(
    sources: Sequence[Path],
    out: Path,
    options: SegmentOptions,
    refusal_of: Callable[[Path, CaseResult], LungSegError],
    on_progress: OnProgress | None = None,
) -> list[CaseFolder]:
    """Segment CTs for a verb that needs the results of all of them.

    Args:
        sources, out, options, on_progress: as in `segment_cases`.
        refusal_of: the error for a CT whose case is not `done`.

    Returns:
        The folder of each source's results, in order.

    Raises:
        LungSegError: what `refusal_of` gives for the first case that is not `done`; or as `segment_cases`.
    """
    results = segment_cases(sources, out, options, on_progress)
    for source, result in zip(sources, results, strict=True):
        if result.status != "done":
            raise refusal_of(source, result)
    return [CaseFolder(out / result.case_id) for result in results]


def _check_each_once(inputs: Sequence[Path]) -> None:
    if twin := find_twin(inputs):
        first, second = (number + 1 for number in twin)
        text = f"{inputs[twin[1]].name or inputs[twin[1]]}: inputs {first} and {second} are one file or folder."
        raise LungSegError("E_DUPLICATE_CASE", text, "Name each CT once.")


def _jobs(inputs: Sequence[Path], out: Path, options: SegmentOptions) -> Iterator[CaseJob]:
    """The cases, each with a name and a folder of its own."""
    taken: list[str] = []
    for source in inputs:
        for own_options in _by_study(source, options):
            taken.append(case_id_of(source, taken=taken))
            yield CaseJob(source, taken[-1], out / taken[-1], own_options)


def _by_study(source: Path, options: SegmentOptions) -> list[SegmentOptions]:
    """The options for each study of an input: one, unless there are several and `recursive` asks for all."""
    studies = list_studies(source, options.read) if options.recursive else ()
    if len(studies) < 2:
        return [options]
    return [replace(options, read=replace(options.read, study=uid)) for uid in studies]
