"""One self-contained HTML page of a follow-up: what became of each nodule, both CTs side by side.

In: a `FollowUp` and both `Time`s. Out: HTML text, pictures inside, the same for the same input. Writes no file.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from lungseg3d.core import CaseResult, Change, Estimate, FollowUp, LowConfidence, Nodule, NoduleChange
from lungseg3d.core.labels import LUNGS, NODULE
from lungseg3d.report.pages.case import MAX_BYTES, MAX_PANELS, environment
from lungseg3d.report.pages.facts import list_facts
from lungseg3d.report.pages.nodule_rows import confidence_text
from lungseg3d.report.pictures.figures import coronal_overview
from lungseg3d.report.pictures.matched_planes import Time, matched_panels
from lungseg3d.report.plots.charts import forest_plot
from lungseg3d.report.plots.numbers import number_text, value_or
from lungseg3d.report.plots.parts import Mark

_QUALITIES = (82, 60, 35)
_COLOURS = {Change.GROWN: 1, Change.SHRUNK: 2, Change.STABLE: 0, Change.NOT_MEASURABLE: 7}
_ABSENT = {Change.NOT_COVERED: "not covered", Change.NOT_DETERMINED: "not compared"}
"""What stands over the CT in which a nodule was not found, where that is not simply so."""
_LEAST_PERCENT, _MOST_PERCENT = -90.0, 500.0


def render_follow_up(follow_up: FollowUp, times: tuple[Time, Time]) -> str:
    """The page, at most `MAX_BYTES` long.

    Args:
        follow_up: the record.
        times: the prior and the current CT, nodules numbered as in the record.
    """
    html, facts = "", _facts(follow_up)
    shown = list(zip(follow_up.changes, facts["rows"], strict=True))[:MAX_PANELS]
    for quality in _QUALITIES:
        html = (
            environment()
            .get_template("follow_up.html.j2")
            .render(
                **facts,
                overviews=[_data_uri(coronal_overview(time.scene, "jpeg", quality, longest=620)) for time in times],
                cards=[_card(change, row, times, quality) for change, row in shown],
                has_ct=all(time.has_ct for time in times),
            )
        )
        if len(html.encode()) <= MAX_BYTES:
            break
    return html


def _facts(follow_up: FollowUp) -> dict[str, Any]:
    counts = Counter(change.change for change in follow_up.changes)
    return {
        "follow_up": follow_up,
        "counts": [(_word(change), counts[change]) for change in Change if counts[change]],
        "days": number_text(follow_up.days),
        "rows": [_row(change, _lows(follow_up)) for change in follow_up.changes],
        "behind": _behind(follow_up),
        "issues": [{"issue": issue, "severity": issue.severity.value} for issue in follow_up.issues],
        "plot": _plot(follow_up),
        "lungs": _lungs(follow_up),
        "is_partial": any(issue.code == "W_PARTIAL_COVERAGE" for issue in follow_up.issues),
        "is_calibrated": any(
            found is not None and found.certainty.calibrated_confidence is not None
            for change in follow_up.changes
            for found in (change.prior, change.current)
        ),
        "max_panels": MAX_PANELS,
        "colours": {**{lung.name: lung.hex_colour for lung in LUNGS}, "nodule": NODULE.hex_colour},
        "groups": [
            ("Prior CT", list_facts(_scan(follow_up.prior))),
            ("Current CT", list_facts(_scan(follow_up.current))),
            ("Registration", list_facts(follow_up.registration)),
            ("One person, by the DICOM headers", list_facts(follow_up.person)),
            ("Program and rules", list_facts(follow_up.provenance)),
        ],
    }


def _scan(result: CaseResult) -> dict[str, Any]:
    grid: dict[str, Any] = {key: result.grid[key] for key in ("shape", "spacing_mm") if key in result.grid}
    return {"case": result.case_id, **result.source, **grid}


def _lows(follow_up: FollowUp) -> tuple[LowConfidence, ...]:
    """What was of low confidence in the report of each CT, as their records say."""
    options = (result.provenance.get("options", {}) for result in (follow_up.prior, follow_up.current))
    return tuple(LowConfidence.of_options(asked) for asked in options)


def _row(change: NoduleChange, lows: Sequence[LowConfidence]) -> dict[str, Any]:
    """One nodule as it is printed."""
    nodule = change.current or change.prior
    assert nodule is not None  # a change has one of them
    times = (change.prior, change.current)
    return {
        "id": change.id,
        "change": change.change.value,
        "absent": _ABSENT.get(change.change, "not found"),
        "word": _word(change.change),
        "reason": change.reason,
        "side": nodule.side,
        "kind": nodule.kind,
        "numbers": [_number(there) for there in times],
        "volumes": [number_text(there.volume_mm3 if there else None) for there in times],
        "axes": [number_text(there.long_axis_mm if there else None, 1) for there in times],
        "confidence": [confidence_text(there)[1] or "–" if there else "–" for there in times],
        "unsure": [bool(there and low.reason(there)) for there, low in zip(times, lows, strict=True)],
        "percent": _percent(change.volume_change),
        "doubling": _doubling(change.doubling_time_days),
        "distance": number_text(change.distance_mm, 1),
    }


def _number(finding: Nodule | None) -> str:
    """Its number in its own CT, and whether it is a candidate there."""
    if finding is None:
        return "–"
    return f"{finding.id} (candidate)" if finding.reason else str(finding.id)


def _behind(follow_up: FollowUp) -> list[str]:
    """How many candidates each CT has, where it has some."""
    counts = (("prior", len(follow_up.prior.candidates)), ("current", len(follow_up.current.candidates)))
    return [f"{count} candidate{'' if count == 1 else 's'} of the {name} CT" for name, count in counts if count]


def _word(change: Change) -> str:
    return change.value.replace("-", " ")


def _percent(change: Estimate) -> dict[str, str]:
    """`+41 %` and its interval."""
    value, low, high = (None if x is None else 100 * x for x in (change.value, change.low, change.high))
    interval = "" if low is None else f"{number_text(low, 0, sign=True)} to {number_text(high, 0, sign=True)} %"
    return {"value": "–" if value is None else f"{number_text(value, 0, sign=True)} %", "interval": interval}


def _doubling(days: Estimate) -> dict[str, str]:
    """`210` and `120 to 400`; an interval without growth in it is open: `more than 300`."""
    if days.low is None:
        return {"value": "–", "interval": ""}
    interval = f"more than {days.low:.0f}" if days.high is None else f"{days.low:.0f} to {days.high:.0f}"
    return {"value": number_text(days.value), "interval": interval}


def _plot(follow_up: FollowUp) -> Markup | None:
    """Changes of volume with their intervals, cut at -90 and +500 %."""
    marks = []
    for change in follow_up.changes[: 2 * MAX_PANELS]:
        estimate = change.volume_change
        if estimate.value is None:
            continue
        ends = (min(max(100 * value_or(x), _LEAST_PERCENT), _MOST_PERCENT) for x in (estimate.low, estimate.high))
        value = min(max(100 * estimate.value, _LEAST_PERCENT), _MOST_PERCENT)
        low, high = ends
        marks.append(Mark(f"nodule {change.id}", _COLOURS[change.change], value, low, high, _word(change.change)))
    if not marks:
        return None
    label, title = "change of volume, %, with 95 % interval; dashed: no change", "Changes of volume of all nodules"
    return Markup(forest_plot(marks, label, title, line=0.0, within=(_LEAST_PERCENT - 10, _MOST_PERCENT + 10)))


def _lungs(follow_up: FollowUp) -> list[tuple[str, list[str]]]:
    volumes = [{lung.name: lung.volume_ml for lung in result.lungs} for result in (follow_up.prior, follow_up.current)]
    return [(lung.title, [number_text(volume.get(lung.name)) for volume in volumes]) for lung in LUNGS]


def _card(change: NoduleChange, row: dict[str, Any], times: tuple[Time, Time], quality: int) -> dict[str, Any]:
    columns = []
    panels_of = zip(times, (change.prior, change.current), matched_panels(times, change, quality), strict=True)
    for time, nodule, panels in panels_of:
        pictures = [
            {"plane": panel.plane, "field": f"{panel.field_mm:.0f}", "image": _data_uri(panel.image)}
            for panel in panels
        ]
        volume = number_text(nodule.volume_mm3 if nodule else None)
        columns.append({"title": time.title, "nodule": nodule, "volume": volume, "panels": pictures})
    return {"row": row, "columns": columns}


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
