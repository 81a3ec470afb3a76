"""One self-contained HTML page of an evaluation: what the numbers are, how sure they are, and the worst cases.

In: the content of `summary.json`, pictures of the worst cases. Out: HTML text, plots inside as SVG, the same for the
same input. Writes no file.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lungseg3d.core.labels import LABELS
from lungseg3d.report.pages.case import environment
from lungseg3d.report.pages.comparison import METRICS as COMPARED_METRICS
from lungseg3d.report.pictures.disagreement import DISAGREEMENT_COLOUR, PREDICTION_COLOUR, REFERENCE_COLOUR
from lungseg3d.report.plots.charts import forest_plot
from lungseg3d.report.plots.curves import Curve, difference_plot, froc_plot, reliability_plot
from lungseg3d.report.plots.numbers import interval_text, number_text, p_text, value_or
from lungseg3d.report.plots.parts import Mark

METRICS = (
    *COMPARED_METRICS,
    ("hd100_mm", "HD100 mm", 2),
    ("mean_surface_distance_mm", "Mean surface distance mm", 2),
    ("nsd_1mm", "NSD 1 mm", 3),
    ("nsd_2mm", "NSD 2 mm", 3),
    ("volume_error", "Volume error", 3),
    ("specificity", "Specificity", 4),
    ("accuracy", "Accuracy", 4),
)
"""Key, title and digits."""
TESTED_METRICS = METRICS[:-2]
"""Specificity and accuracy say little, so nothing is tested on them."""
FOUND_METRICS = tuple(row for row in METRICS if row[0] in ("dice", "iou", "nsd_1mm", "hd95_mm", "hd100_mm"))
_METRIC_NAMES = {key: title for key, title, _ in METRICS} | {"detection": "share of nodules found"}
_TITLES = {label.name: label.title for label in LABELS}
_AGREEMENT = {"nodule_mm3": ("Nodules that were found", "mm³"), "right_lung_ml": ("Right lung", "ml")}
_AGREEMENT["left_lung_ml"] = ("Left lung", "ml")


@dataclass(frozen=True)
class WorstCase:
    """A case to look at.

    Attributes:
        case_id: of the manifest.
        structure: name of what was judged worst in it.
        dice: of it.
        image: JPEG bytes, or None where the CT could not be shown.
        slice_number: axial slice shown, from the feet, from 1.
    """

    case_id: str
    structure: str
    dice: float
    image: bytes | None
    slice_number: int | None


def render_evaluation(content: Mapping[str, Any], worst: Sequence[WorstCase], points: Sequence[str] = ()) -> str:
    """The page.

    Args:
        content: what `summary.json` holds.
        worst: cases, worst first.
        points: by what the lists of nodules were made, in words.
    """
    pictures = [
        {
            "case": case,
            "title": _TITLES.get(case.structure, case.structure),
            "uri": "data:image/jpeg;base64," + base64.b64encode(case.image).decode("ascii") if case.image else None,
        }
        for case in worst
    ]
    return (
        environment()
        .get_template("evaluation.html.j2")
        .render(
            content=content,
            points=points,
            titles=_TITLES,
            metrics=METRICS,
            tested_metrics=TESTED_METRICS,
            found_metrics=FOUND_METRICS,
            metric_names=_METRIC_NAMES,
            pictures=pictures,
            plots={name: Markup(svg) for name, svg in _plots(content).items()},
            agreement=[(_AGREEMENT[key], values, _agreement_plot(key, values)) for key, values in _agreed(content)],
            colours={
                "reference": _css(REFERENCE_COLOUR),
                "prediction": _css(PREDICTION_COLOUR),
                "disagreement": _css(DISAGREEMENT_COLOUR),
            },
            number=number_text,
            interval=interval_text,
            p_text=p_text,
        )
    )


def _plots(content: Mapping[str, Any]) -> dict[str, str]:
    plots = {}
    nodules, curve, sure = content["nodules"], content["froc"], content["calibration"]
    if nodules:
        rows = [("all", 0, nodules["all"])]
        rows += [(stratum["name"], 1, stratum) for stratum in nodules["by_size"]]
        rows += [(stratum["name"], 2, stratum) for stratum in nodules["by_texture"]]
        for key, label in (("dice", "mean Dice of a nodule"), ("detection", "share of nodules found")):
            marks = []
            for name, colour, one in rows:
                mean = value_or(one[key]["mean"])
                low, high = (value_or(one[key][end], mean) for end in ("low", "high"))
                if one["nodules"]:
                    marks.append(Mark(name, colour, mean, low, high, f"n = {one['nodules']}"))
            plots[key] = forest_plot(
                marks, f"{label}, 95 % interval", f"{label} by size and texture", within=(0.0, 1.0)
            )
    if curve:
        keys = ("false_positives_a_scan", "sensitivity", "sensitivity_low", "sensitivity_high")
        rates, means, *ends = (curve[key] for key in keys)
        lows, highs = ([value_or(v, mean) for v, mean in zip(end, means, strict=True)] for end in ends)
        points = list(zip(rates, means, lows, highs, strict=True))
        whole = curve["curve"]
        plots["froc"] = froc_plot([Curve("sensitivity", 0, whole["rate"], whole["sensitivity"], points)], "FROC curve")
    if sure:
        confidence, share, counts = ([value_or(v) for v in sure[key]] for key in ("confidence", "share", "counts"))
        plots["reliability"] = reliability_plot(confidence, share, counts, "Reliability of the confidence")
    return plots


def _agreed(content: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(key, content["agreement"][key]) for key in _AGREEMENT if key in content["agreement"]]


def _agreement_plot(key: str, values: Mapping[str, Any]) -> Markup:
    title, unit = _AGREEMENT[key]
    lines = [(values["bias"], "bias"), (values["low"], "−1.96 SD"), (values["high"], "+1.96 SD")]
    name = f"Bland-Altman plot, {title.lower()}"
    return Markup(difference_plot(values["means"], values["differences"], lines, unit, name))


def _css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
