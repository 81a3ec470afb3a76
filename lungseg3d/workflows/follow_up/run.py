"""`follow-up`: two CTs of one person in; what became of each nodule out: page, table, record.

In: two folders of results, or two CTs, which are segmented first. Out: `follow_up.html`, `follow_up.csv`,
`follow_up.json` and, if asked, `follow_up.dcm` in a folder, and what was segmented in `segmented/` beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from lungseg3d.analysis import (
    LEAST_CHANGE,
    LEAST_DICE,
    LEAST_LIKENESS,
    LungRegistration,
    TimePoint,
    compare_nodules,
    register_lungs,
)
from lungseg3d.core import CaseResult, FollowUp, IntakeError, OutputError, UsageError, to_json
from lungseg3d.core.progress import OnProgress
from lungseg3d.core.stopwatch import Stopwatch
from lungseg3d.io import (
    CaseFolder,
    TimePointSeg,
    check_writable,
    compare_persons,
    make_follow_up_sr,
    placing_together,
    read_time_point_seg,
    time_between,
    write_text,
)
from lungseg3d.report import Time, changes_csv, follow_up_json, numbers_of, render_follow_up
from lungseg3d.workflows.follow_up.inputs import Examination, examine
from lungseg3d.workflows.follow_up.issues import issues_of, time_issues
from lungseg3d.workflows.segment.formats import FORMATS, encode, write_objects
from lungseg3d.workflows.segment.options import DEFAULT_POINT, SegmentOptions

FILES = ("follow_up.csv", "follow_up.html", "follow_up.json")
SR_FILE = "follow_up.dcm"
_STEPS = {"read": 0.0, "register": 0.4, "compare": 0.7, "report": 0.75, "write": 0.95}
_NAME = "follow-up"


@dataclass(frozen=True)
class FollowUpOptions:
    """What may be asked of `follow-up`.

    Attributes:
        days: from the prior to the current CT; None takes the DICOM dates.
        prior_ct, current_ct: the CTs of folders of results, for pictures, vessels and dates.
        segment: how CTs are read and segmented; its `overwrite` holds for everything.
        sr: write a DICOM SR, too; both results need their SEG (`segmentation.dcm`).
    """

    days: float | None = None
    prior_ct: Path | None = None
    current_ct: Path | None = None
    segment: SegmentOptions = field(default_factory=SegmentOptions)
    sr: bool = False


def follow_up(
    prior: Path | str,
    current: Path | str,
    out: Path | str,
    options: FollowUpOptions = FollowUpOptions(),
    on_progress: OnProgress | None = None,
) -> FollowUp:
    """Compare two CTs of one person and write `out`.

    Args:
        prior, current: each a folder that `segment` wrote for a case, or a CT.
        out: folder of the comparison.
        options: see `FollowUpOptions`.
        on_progress: called with what, step and the done fraction of it, 0 to 1.

    Raises:
        IntakeError: E_NOT_A_RESULT, E_NO_DICOM_SOURCE, a CT that is refused, or a code of `open_ct`.
        GeometryError: E_GRID_MISMATCH when a CT is not the one of its results, E_NO_LUNG without lungs.
        OutputError: E_OUTPUT_EXISTS, E_WRITE, E_NO_SPACE.
        UsageError: E_BAD_OPTION.
    """
    if options.days is not None and not math.isfinite(options.days):
        raise UsageError("E_BAD_OPTION", f"--days {options.days} is no number of days.", "Give a number, such as 180.")
    out = check_writable(out)
    if any((out / name).exists() for name in (*FILES, SR_FILE)) and not options.segment.overwrite:
        raise OutputError("E_OUTPUT_EXISTS", f"{out}: a follow-up is there.", "Pass --overwrite, or another --out.")
    folders, cts = _results_of([Path(prior), Path(current)], out, options, on_progress)
    watch = Stopwatch(lambda step: on_progress and on_progress(_NAME, step, _STEPS[step]))
    with watch.step("read"):
        before, now = (examine(f, ct, options.segment.read) for f, ct in zip(folders, cts, strict=True))
        segs = _segs(folders, before, now) if options.sr else None
    with watch.step("register"):
        registration = register_lungs(before.chest, now.chest)
    with watch.step("compare"):
        result = _compare(before, now, registration, options)
    with watch.step("report"):
        numbers = numbers_of(result)
        times = (
            Time.of("Prior", before.ct, before.labels, before.findings, numbers[0]),
            Time.of("Current", now.ct, now.labels, now.findings, numbers[1]),
        )
        page = render_follow_up(result, times)
        objects = {SR_FILE: encode(make_follow_up_sr(result, *segs))} if segs else {}
    stale = [] if segs else [SR_FILE]
    with watch.step("write"), placing_together(out, last="follow_up.json", stale=stale) as stage:
        write_objects(stage, objects)
        write_text(stage / "follow_up.csv", changes_csv(result))
        write_text(stage / "follow_up.html", page)
        write_text(stage / "follow_up.json", follow_up_json(result))
    if on_progress:
        on_progress(_NAME, "done", 1.0)
    return result


def _segs(folders: list[CaseFolder], before: Examination, now: Examination) -> tuple[TimePointSeg, TimePointSeg]:
    prior, current = (
        read_time_point_seg(folder.seg, name, {nodule.id for nodule in time.result.nodules})
        for folder, name, time in zip(folders, ("prior", "current"), (before, now), strict=True)
    )
    return prior, current


def _results_of(
    inputs: list[Path], out: Path, options: FollowUpOptions, on_progress: OnProgress | None
) -> tuple[list[CaseFolder], list[Path | None]]:
    """For each time point the folder of its results, and its CT."""
    given = [options.prior_ct, options.current_ct]
    # One CT given twice is segmented once; that it was given twice is said of the comparison.
    unsegmented = list({path.resolve(): path for path in inputs if not CaseFolder(path).has_record}.values())
    for path, ct in zip(inputs, given, strict=True):
        if not CaseFolder(path).has_record and ct is not None:
            text = f"{path.name} is no folder of results, so that it takes no CT beside it."
            raise UsageError("E_BAD_OPTION", text, "Leave --prior-ct and --current-ct out.")
    if not unsegmented:
        if options.segment.operating_point != DEFAULT_POINT:
            text = (
                f"--operating-point {options.segment.operating_point}: both inputs are results, which have their lists."
            )
            raise UsageError("E_BAD_OPTION", text, "Segment the CTs at that point, or give CTs instead of results.")
        return [CaseFolder(path) for path in inputs], given
    from lungseg3d.workflows.segment.cases import segment_or_refuse

    how = replace(options.segment, formats=FORMATS) if options.sr else options.segment
    folders = segment_or_refuse(unsegmented, out / "segmented", how, _refusal_of, on_progress)
    made = {path.resolve(): folder for path, folder in zip(unsegmented, folders, strict=True)}
    cts = [path if path.resolve() in made else ct for path, ct in zip(inputs, given, strict=True)]
    return [made.get(path.resolve(), CaseFolder(path)) for path in inputs], cts


def _refusal_of(path: Path, result: CaseResult) -> IntakeError:
    """Why there is nothing to compare, by the first refusal of a CT, else by its first issue."""
    name = path.name
    issues = sorted(result.issues, key=lambda issue: not issue.code.startswith("E_"))
    if not issues:
        return IntakeError("E_NOT_A_RESULT", f"{name}: the case was {result.status}.", "Look at the CT.")
    code = issues[0].code if issues[0].code.startswith("E_") else "E_NOT_A_RESULT"
    return IntakeError(code, f"{name}: {issues[0].message}", issues[0].remedy)


def _compare(
    before: Examination, now: Examination, registration: LungRegistration, options: FollowUpOptions
) -> FollowUp:
    between, persons = time_between(before.header, now.header), compare_persons(before.header, now.header)
    days, days_from = (options.days, "given") if options.days is not None else (between.days, "DICOM")
    first, second = (
        TimePoint(
            time.result.nodules,
            time.labels.grid,
            time.chest.field_of_view,
            time.density,
            time.result.candidates,
            was_searched=not time.result.places,
        )
        for time in (before, now)
    )
    fit = registration.fit
    issues = [*issues_of(before, now, registration, persons), *time_issues(options.days, between)]
    return FollowUp(
        prior=before.result,
        current=now.result,
        changes=compare_nodules(first, second, registration, days),
        days=days,
        days_from=days_from if days is not None else "",
        registration={
            "driven_by": registration.driven_by,
            "lung_dice_before": round(registration.dice_before, 3),
            "lung_dice": round(fit.dice, 3),
            "vessel_likeness": None if fit.likeness is None else round(fit.likeness, 3),
            "common_share": {n: round(s, 3) for n, s in zip(("prior", "current"), fit.common_shares, strict=True)},
            "bend_mm": round(registration.bend_mm, 1),
            "fits": fit.is_good,
        },
        person=to_json(persons),
        issues=tuple(issues),
        provenance={
            "versions": {name: version(name) for name in ("lungseg3d", "SimpleITK", "scipy")},
            "rules": {
                "least_change": LEAST_CHANGE,
                "interval": "95 %",
                "least_lung_dice": LEAST_DICE,
                "least_vessel_likeness": LEAST_LIKENESS,
            },
        },
    )
