"""`follow-up`: two CTs of one person in; what became of each nodule out: page, table, record.

In: two folders of results, or two CTs, which are segmented first. Out: `follow_up.html`, `follow_up.csv`,
`follow_up.json` and, if asked, `follow_up.dcm` in a folder, and what was segmented in `segmented/` beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from lungseg3d.analysis import (
    LEAST_CHANGE,
    LEAST_DICE,
    Chest,
    LungRegistration,
    TimePoint,
    compare_nodules,
    compare_noise,
    compare_scans,
    register_lungs,
)
from lungseg3d.core import FollowUp, IntakeError, OutputError, QualityIssue, UsageError
from lungseg3d.io import (
    TimePointSeg,
    check_writable,
    days_between,
    make_follow_up_sr,
    placing_together,
    read_time_point_seg,
    write_text,
)
from lungseg3d.report import Time, changes_csv, follow_up_json, numbers_of, render_follow_up
from lungseg3d.workflows.dicom_objects import FORMATS, SEG_NAME, write_objects
from lungseg3d.workflows.follow_up_inputs import Examination, examine, is_result
from lungseg3d.workflows.segment_options import SegmentOptions
from lungseg3d.workflows.stopwatch import Stopwatch
from lungseg3d.workflows.training_range import acquisition_of

OnProgress = Callable[[str, str, float], None]
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
    out = check_writable(out)
    if any((out / name).exists() for name in (*FILES, SR_FILE)) and not options.segment.overwrite:
        raise OutputError("E_OUTPUT_EXISTS", f"{out}: a follow-up is there.", "Pass --overwrite, or another --out.")
    folders, cts = _segmented([Path(prior), Path(current)], out, options, on_progress)
    watch = Stopwatch(lambda step: on_progress and on_progress(_NAME, step, _STEPS[step]))
    with watch.step("read"):
        before, now = (examine(f, ct, options.segment.read) for f, ct in zip(folders, cts, strict=True))
        segs = _segs(folders, before, now) if options.sr else None
    with watch.step("register"):
        registration = register_lungs(Chest(before.labels, before.ct), Chest(now.labels, now.ct))
    with watch.step("compare"):
        result = _compared(before, now, registration, options)
    with watch.step("report"):
        numbers = numbers_of(result)
        times = (
            Time.of("Prior", before.ct, before.labels, before.nodules, numbers[0]),
            Time.of("Current", now.ct, now.labels, now.nodules, numbers[1]),
        )
        page = render_follow_up(result, times)
        objects = {SR_FILE: make_follow_up_sr(result, *segs)} if segs else {}
    stale = [] if segs else [SR_FILE]
    with watch.step("write"), placing_together(out, last="follow_up.json", stale=stale) as stage:
        write_objects(stage, objects)
        write_text(stage / "follow_up.csv", changes_csv(result))
        write_text(stage / "follow_up.html", page)
        write_text(stage / "follow_up.json", follow_up_json(result))
    if on_progress:
        on_progress(_NAME, "done", 1.0)
    return result


def _segs(folders: list[Path], before: Examination, now: Examination) -> tuple[TimePointSeg, TimePointSeg]:
    prior, current = (
        read_time_point_seg(folder / SEG_NAME, name, {nodule.id for nodule in time.result.nodules})
        for folder, name, time in zip(folders, ("prior", "current"), (before, now), strict=True)
    )
    return prior, current


def _segmented(
    inputs: list[Path], out: Path, options: FollowUpOptions, on_progress: OnProgress | None
) -> tuple[list[Path], list[Path | None]]:
    """For each time point the folder of its results, and its CT."""
    given = [options.prior_ct, options.current_ct]
    unsegmented = [path for path in inputs if not is_result(path)]
    for path, ct in zip(inputs, given, strict=True):
        if path in unsegmented and ct is not None:
            text = f"{path.name} is no folder of results, so that it takes no CT beside it."
            raise UsageError("E_BAD_OPTION", text, "Leave --prior-ct and --current-ct out.")
    if not unsegmented:
        return inputs, given
    from lungseg3d.workflows.segment import segment_cases

    how = replace(options.segment, formats=FORMATS) if options.sr else options.segment
    results = segment_cases(unsegmented, out / "segmented", how, on_progress)
    for path, result in zip(unsegmented, results, strict=True):
        if result.status != "done":
            issue = next(issue for issue in result.issues if issue.code.startswith("E_"))
            raise IntakeError(issue.code, f"{path.name}: {issue.message}", issue.remedy)
    made = {path: out / "segmented" / result.case_id for path, result in zip(unsegmented, results, strict=True)}
    cts = [path if path in made else ct for path, ct in zip(inputs, given, strict=True)]
    return [made.get(path, path) for path in inputs], cts


def _compared(
    before: Examination, now: Examination, registration: LungRegistration, options: FollowUpOptions
) -> FollowUp:
    dicom_days = days_between(before.files, now.files)
    days, days_from = (options.days, "given") if options.days is not None else (dicom_days, "DICOM")
    first, second = (TimePoint(time.result.nodules, time.labels.grid) for time in (before, now))
    return FollowUp(
        prior=before.result,
        current=now.result,
        changes=compare_nodules(first, second, registration, days),
        days=days,
        days_from=days_from if days is not None else "",
        registration={
            "driven_by": registration.driven_by,
            "lung_dice_before": round(registration.dice_before, 3),
            "lung_dice": round(registration.dice, 3),
            "bend_mm": round(registration.bend_mm, 1),
        },
        issues=tuple(_issues(before, now, registration, days)),
        provenance={
            "versions": {name: version(name) for name in ("lungseg3d", "SimpleITK", "scipy")},
            "rules": {"least_change": LEAST_CHANGE, "interval": "95 %"},
        },
    )


def _issues(
    before: Examination, now: Examination, registration: LungRegistration, days: float | None
) -> list[QualityIssue]:
    issues = compare_scans(before.result, now.result)
    if before.ct is not None and now.ct is not None:
        prior_like = acquisition_of(before.ct, before.labels, before.result.source)
        issues += compare_noise(prior_like, acquisition_of(now.ct, now.labels, now.result.source))
    else:
        text = "the lungs were brought together by their masks alone: nodules count as one within 12 mm, not 6 mm."
        issues.append(QualityIssue("W_MASKS_ALONE", text, "Give --prior-ct and --current-ct."))
    if registration.dice < LEAST_DICE:
        text = f"the lungs overlap by {registration.dice:.2f} only (Dice) after registration."
        way_out = "Look whether both CTs show the same person, and whole lungs; trust no pairing before."
        issues.append(QualityIssue("W_POOR_REGISTRATION", text, way_out))
    if days is None:
        text = "the time between the CTs is not known, so there are no doubling times."
        issues.append(QualityIssue("W_NO_DAYS", text, "Pass --days."))
    elif days <= 0:
        text = f"the current CT was taken {-days:g} days before the prior one." if days else "both CTs are of one day."
        issues.append(QualityIssue("W_CURRENT_FIRST", text, "Swap them if they are the wrong way round."))
    return issues

