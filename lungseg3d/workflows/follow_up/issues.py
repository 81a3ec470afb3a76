"""What a reader of a follow-up must know first: another person, the same CT twice, a misfit, dates that disagree.

In: both `Examination`s, their registration, the days between them. Out: `QualityIssue`s; the codes stand in
`core.CODES`. Writes nothing, and says no value of a header.
"""

from __future__ import annotations

import numpy as np

from lungseg3d.analysis import LungRegistration, are_one_ct, compare_noise, compare_scans
from lungseg3d.core import QualityIssue
from lungseg3d.io import PersonComparison, TimeBetween
from lungseg3d.workflows.bundle.training_range import acquisition_of
from lungseg3d.workflows.follow_up.inputs import Examination

_WHOLE = 0.95
"""Share of the lungs from which on a CT shows all of what the other one shows: the rest is error of registration."""
_DAYS_APART = 1.5
"""Days given and days by the dates that differ by more contradict each other."""


def issues_of(
    before: Examination,
    now: Examination,
    registration: LungRegistration,
    persons: PersonComparison,
) -> list[QualityIssue]:
    """All but what concerns the time between the CTs, gravest first."""
    return [
        *_person_issues(persons),
        *_fit_issues(registration),
        *_twin_issues(before, now),
        *compare_scans(before.result, now.result),
        *_point_issues(before, now),
        *_noise_issues(before, now),
    ]


def time_issues(given: float | None, between: TimeBetween) -> list[QualityIssue]:
    """What is odd about the time between both CTs.

    Args:
        given: days, as the user states them; None = not stated.
        between: what the DICOM dates say.
    """
    issues = []
    days = between.days if given is None else given
    if days is None:
        text = f"the time between the CTs is not known, so there are no doubling times: {between.why_unknown}"
        return [QualityIssue("W_NO_DAYS", text, "Pass --days.")]
    if given is not None and between.days is not None and abs(given - between.days) > _DAYS_APART:
        text = f"--days says {given:g} days, the DICOM dates say {between.days}; {given:g} was used."
        issues.append(QualityIssue("W_OTHER_DAYS", text, "Look which is right; leave --days out to use the dates."))
    if between.contradiction:
        way_out = "Pass --days with the time between both scans."
        issues.append(QualityIssue("W_OTHER_DAYS", between.contradiction, way_out))
    first = min(days, between.days if between.days is not None else days)
    if first < 0 or days == 0:
        text = (
            f"the current CT was taken {-first:g} days before the prior one." if first else "both CTs are of one day."
        )
        issues.append(QualityIssue("W_CURRENT_FIRST", text, "Swap them if they are the wrong way round."))
    return issues


def _person_issues(persons: PersonComparison) -> list[QualityIssue]:
    differing = persons.differing
    if not differing:
        return []
    listed = " and ".join(filter(None, [", ".join(differing[:-1]), differing[-1]]))
    if differing == ["PatientID"]:
        text = "the DICOM headers differ in PatientID: another person, or one person under two numbers (two hospitals,"
        text += " two pseudonyms)."
    else:
        text = f"the DICOM headers differ in {listed}: these are most likely CTs of two persons."
    way_out = "Make sure that both CTs show one person before using anything of this comparison."
    return [QualityIssue("W_OTHER_PATIENT", text, way_out)]


def _fit_issues(registration: LungRegistration) -> list[QualityIssue]:
    issues, fit = [], registration.fit
    if not fit.is_good:
        text = f"{fit.misfit}, so that nodules were not paired and no change was determined."
        way_out = "Look whether both CTs show the same person and enough of the same lungs, and at both lung masks."
        issues.append(QualityIssue("W_POOR_REGISTRATION", text, way_out))
    shares = dict(zip(("prior", "current"), fit.common_shares, strict=True))
    short = [(name, share) for name, share in shares.items() if share < _WHOLE]
    if fit.is_good and short:
        others = {"prior": "current", "current": "prior"}
        text = "; ".join(f"the {others[n]} CT covers {100 * s:.0f} % of the lungs in the {n} CT" for n, s in short)
        way_out = "Nodules that only one CT covers are listed as not covered: they are neither new nor gone."
        issues.append(QualityIssue("W_PARTIAL_COVERAGE", f"{text}.", way_out))
    return issues


def _twin_issues(before: Examination, now: Examination) -> list[QualityIssue]:
    """The same CT as prior and as current, whatever its files are called."""
    uids = [time.result.source.get("series_sha256") for time in (before, now)]
    if all(uids) and uids[0] == uids[1]:
        what = "both CTs are one DICOM series (the same SeriesInstanceUID)"
    elif before.ct is not None and now.ct is not None:
        if not are_one_ct(before.ct, now.ct):
            return []
        what = "both CTs have the same voxels: one CT under two names, or in two formats"
    elif not np.array_equal(before.labels.as_ras().array, now.labels.as_ras().array):
        return []
    else:
        what = "the masks of both CTs are the same voxel by voxel: most likely one CT, given twice"
    text = f"{what}. That nodules are stable says nothing about the patient."
    return [QualityIssue("W_SAME_SERIES", text, "Give another CT as PRIOR or as CURRENT.")]


def _point_issues(before: Examination, now: Examination) -> list[QualityIssue]:
    """Lists that were made at two operating points."""
    points = [time.result.operating_point for time in (before, now)]
    cuts = [(point.get("name"), point.get("least_confidence")) for point in points]
    if cuts[0] == cuts[1]:
        return []
    names = [str(point.get("name") or "none (everything is listed)") for point in points]
    text = f"the nodules were listed at two operating points: prior {names[0]}, current {names[1]}"
    text += "." if names[0] != names[1] else ", with other confidences."
    remedy = "Nodules of either list are compared with all findings of the other CT; segment both alike for like lists."
    return [QualityIssue("W_OTHER_LISTS", text, remedy)]


def _noise_issues(before: Examination, now: Examination) -> list[QualityIssue]:
    if before.ct is None or now.ct is None:
        text = "the lungs were brought together by their masks alone: nodules count as one within 12 mm, not 6 mm, and"
        text += " whether both CTs show one person was not looked at."
        return [QualityIssue("W_MASKS_ALONE", text, "Give --prior-ct and --current-ct.")]
    prior_like = acquisition_of(before.ct, before.labels, before.result.source)
    return compare_noise(prior_like, acquisition_of(now.ct, now.labels, now.result.source))
