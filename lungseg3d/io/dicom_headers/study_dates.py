"""Days between two DICOM series, without the dates themselves.

In: two headers of `time_point_headers`. Out: `TimeBetween`. No date leaves this module: with a name or a hospital it
would identify a person.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from pydicom.dataset import Dataset

from lungseg3d.io.dicom_headers.dates import date_of
from lungseg3d.io.dicom_headers.time_point_headers import text_in

_KINDS = {
    "acquisition": ("AcquisitionDateTime", "AcquisitionDate"),
    "series": ("SeriesDate",),
    "study": ("StudyDate",),
}
"""The first that both series state; a de-identified series often keeps only some."""
_FIRST_CT = datetime.date(1971, 10, 1)
"""Before the first CT of a patient a date is a placeholder, or shifted: it says nothing beside a real one."""
_LEAST_CONTRADICTION_DAYS = 2


@dataclass(frozen=True)
class TimeBetween:
    """What the dates of two CTs say of the time between them.

    Attributes:
        days: from the prior to the current CT, negative when it is the other way round; None = not known.
        why_unknown: why, for a reader; empty where it is known.
        contradiction: what disagrees in the dates themselves; empty where nothing does.
    """

    days: int | None
    why_unknown: str = ""
    contradiction: str = ""


def time_between(prior: Dataset | None, current: Dataset | None) -> TimeBetween:
    """Days from the prior to the current CT by their DICOM dates.

    Dates of one kind are compared where both state one, else the best that each has: acquisition, series, study are
    days apart at most.
    """
    if prior is None or current is None:
        return TimeBetween(None, "not both CTs are DICOM with a header at hand.")
    (first, first_odd), (second, second_odd) = _dates(prior), _dates(current)
    both = [kind for kind in _KINDS if kind in first and kind in second]
    if first and second:
        if both:
            days = {kind: (second[kind] - first[kind]).days for kind in both}
        else:
            days = {"": (next(iter(second.values())) - next(iter(first.values()))).days}
        found, (least, most) = next(iter(days.values())), (min(days.values()), max(days.values()))
        text = ""
        if most - least >= _LEAST_CONTRADICTION_DAYS:
            listed = ", ".join(f"{number} days by the {kind} dates" for kind, number in days.items())
            text = f"the DICOM dates disagree: {listed}."
        return TimeBetween(found, contradiction=text)
    names = [name for name, dates in (("prior", first), ("current", second)) if not dates]
    odd = [name for name, is_odd in (("prior", first_odd), ("current", second_odd)) if is_odd and name in names]
    if odd:
        return TimeBetween(None, f"what the {' and the '.join(odd)} CT has for a date is none.")
    return TimeBetween(None, f"the {' and the '.join(names)} CT has no date.")


def _dates(header: Dataset) -> tuple[dict[str, datetime.date], bool]:
    """Days by kind, and whether something stands there that is no day on which a CT was taken."""
    found: dict[str, datetime.date] = {}
    is_odd = False
    for kind, keywords in _KINDS.items():
        for keyword in keywords:
            text = text_in(header, keyword)
            day = date_of(text)
            if day is not None and day >= _FIRST_CT:
                found.setdefault(kind, day)
            elif text:
                is_odd = True
    return found, is_odd
