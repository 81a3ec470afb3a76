"""What becomes of a segmented CT: measured, checked, reported, written.

In: the CT, what the networks made of it. Out: the files of one case and its `CaseResult`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from lungseg3d.analysis import Listing, measure_lungs, measure_nodules, place_issues
from lungseg3d.core import NO_LUNGS, CaseResult, Nodule
from lungseg3d.core.stopwatch import Stopwatch, peak_memory_mib
from lungseg3d.io import CaseFolder, placing_together, voxels_crc32, write_labels, write_text
from lungseg3d.report import NoduleMaps, nodules_csv, render_html, result_json
from lungseg3d.workflows.segment.checks import check_segmented
from lungseg3d.workflows.segment.extras import EXTRA_FILES, extra_files, write_extras
from lungseg3d.workflows.segment.formats import MASK_NAMES, NIFTI_NAMES, made_formats, with_objects, write_objects
from lungseg3d.workflows.segment.job import CaseJob, OpenedCase
from lungseg3d.workflows.segment.models import Models, provenance_of, range_issues
from lungseg3d.workflows.segment.networks import Segmented
from lungseg3d.workflows.segment.options import SegmentOptions


def write_results(opened: OpenedCase, found: Segmented, job: CaseJob, models: Models, watch: Stopwatch) -> CaseResult:
    """Measure, check, report and write one case.

    Returns:
        Its record, with seconds by step so far and peak memory.

    Raises:
        OutputError: where its files cannot be written.
    """
    options = job.options
    result = _measure(opened, found, job, models, watch)
    objects: Mapping[str, bytes] = {}
    nifti = _nifti_names(options)
    if made_formats(options.formats, opened.series):
        with watch.step("objects"):
            masks = found.labels, found.nodules
            result, objects = with_objects(result, *masks, opened.series, options.formats, options.dates)
        if not nifti and any(issue.code == "W_NO_DICOM_OBJECTS" for issue in result.issues):
            # Hours of work are not lost to a fault of the writer: `export` can make objects of these later.
            nifti = NIFTI_NAMES
            result = replace(result, files=(*nifti, *result.files))
    shown = result if options.write_timings else replace(result, timings_s={}, peak_memory_mib=None)
    ct = opened.reading.volume
    with watch.step("report"):
        maps = NoduleMaps(found.extras.entropies, found.extras.explanations)
        beside = found.listing.candidates.labels
        page = render_html(shown, ct, found.labels, found.nodules, maps, options.settings.low, candidate_map=beside)
    # The record last, so that a folder with a record is a complete one.
    stale = [name for name in (*MASK_NAMES, *EXTRA_FILES) if name not in result.files]
    with watch.step("write"), placing_together(job.folder, last=CaseFolder.RECORD, stale=stale) as stage:
        for name, volume in zip(nifti, (found.labels, found.nodules, found.listing.candidates.labels), strict=False):
            write_labels(stage / name, volume)
        write_objects(stage, objects)
        write_extras(stage, found.extras, ct, extra_files(options))
        write_text(stage / CaseFolder.TABLE, nodules_csv(result))
        write_text(stage / CaseFolder.REPORT, page)
        write_text(stage / CaseFolder.RECORD, result_json(shown))
    return result


def _measure(opened: OpenedCase, found: Segmented, job: CaseJob, models: Models, watch: Stopwatch) -> CaseResult:
    """The record of a case that is done, with all that its masks say and what is odd about them."""
    reading, options = opened.reading, job.options
    ct, listing = reading.volume, found.listing
    in_lungs = found.lungs if options.roi == "lungs" else None
    with ThreadPoolExecutor(1, "check") as beside:
        checking = beside.submit(check_segmented, ct, found, options.roi)
        with watch.step("measure"):
            thickness_mm = reading.source.get("slice_thickness_mm")
            confidence = None if found.places else listing.confidence
            measured = measure_nodules(
                ct, listing.finding_map(), lungs=in_lungs, confidence=confidence, slice_thickness_mm=thickness_mm
            )
            nodules, candidates = _split_findings(found.extras.added_to(models.listing.added_to(measured)), listing)
            lungs = measure_lungs(found.labels) if in_lungs is not None else ()
        with watch.step("check"):
            ood_issues = range_issues(models, reading, in_lungs and found.labels)
            checked = checking.result()
    return CaseResult(
        case_id=job.case_id,
        status=NO_LUNGS if "W_NO_LUNG" in {issue.code for issue in checked.issues} else "done",
        source={**reading.source, "voxels_crc32": voxels_crc32(ct)},
        grid={"shape": ct.shape, "spacing_mm": ct.spacing_mm, "affine_ras": ct.affine},
        lungs=tuple(lungs),
        nodules=nodules,
        candidates=candidates,
        operating_point={"name": "places", "least_confidence": {}} if found.places else dict(models.listing.record),
        places=found.places,
        issues=(
            *reading.issues,
            *opened.issues,
            *place_issues(found.places),
            *checked.issues,
            *ood_issues,
            *(() if found.places else models.listing.issues),
        ),
        checks=checked.record,
        provenance=provenance_of(models, options),
        timings_s=watch.seconds,
        peak_memory_mib=peak_memory_mib(),
        files=(
            *_nifti_names(options),
            *extra_files(options),
            CaseFolder.TABLE,
            CaseFolder.RECORD,
            CaseFolder.REPORT,
        ),
    )


def _split_findings(measured: Sequence[Nodule], listing: Listing) -> tuple[tuple[Nodule, ...], tuple[Nodule, ...]]:
    """Split measured findings into the nodules of the list and the candidates, each in the order of their numbers."""
    reasons = listing.reason_of
    ordered = sorted(measured, key=lambda finding: finding.id)
    nodules = tuple(finding for finding in ordered if finding.id not in reasons)
    return nodules, tuple(replace(f, reason=reasons[f.id]) for f in ordered if f.id in reasons)


def _nifti_names(options: SegmentOptions) -> tuple[str, ...]:
    return NIFTI_NAMES if "nifti" in options.formats else ()
