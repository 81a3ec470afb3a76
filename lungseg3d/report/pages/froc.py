"""One self-contained HTML page of a FROC score.

In: the content of `froc.json` and the curve. Out: HTML text, the same for the same input. Writes no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lungseg3d.report.pages.case import environment
from lungseg3d.report.plots.curves import Curve, froc_plot


def render_froc(content: Mapping[str, Any], rate: Sequence[float], sensitivity: Sequence[float]) -> str:
    """The page.

    Args:
        content: what `froc.json` holds.
        rate, sensitivity: the whole curve, false positives a scan ascending.
    """
    keys = ("false_positives_a_scan", "sensitivity", "sensitivity_low", "sensitivity_high")
    marks = list(zip(*(content[key] for key in keys), strict=True))
    plot = froc_plot([Curve("sensitivity", 0, rate, sensitivity, marks)], "FROC curve")
    return environment().get_template("froc.html.j2").render(content=content, marks=marks, plot=Markup(plot))
