"""One self-contained HTML page of a comparison of networks: table, plots, tests, and how it was done.

In: the content of `compare.json`. Out: HTML text, plots inside as SVG, the same for the same input. Writes no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lungseg3d.report.pages.case import environment
from lungseg3d.report.plots.charts import forest_plot, group_plot, scatter_plot
from lungseg3d.report.plots.numbers import interval_text, number_text, p_text, value_or
from lungseg3d.report.plots.parts import Mark

METRICS = (
    ("dice", "Dice", 3),
    ("iou", "IoU", 3),
    ("sensitivity", "Sensitivity", 3),
    ("ppv", "PPV", 3),
    ("hd95_mm", "HD95 mm", 2),
)
"""Key, title and digits."""


def render_comparison(content: Mapping[str, Any]) -> str:
    """The page.

    Args:
        content: what `compare.json` holds: `networks`, `cases`, `members`, `structures`, `reference` and the choices.
    """
    shown = content["structures"][-1]  # the only one, or the mean of several
    rows = [row for row in content["networks"] if row["structure"] == shown]
    colours = {row["network"]: i for i, row in enumerate(rows)}
    ranked = sorted(rows, key=lambda row: -value_or(row["dice"]["mean"], -1.0))
    measured = [row for row in ranked if row["dice"]["mean"] is not None]
    failed = [member for member in content["members"] if member["status"] != "done"]
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            title=f"{len(rows)} network{'s' if len(rows) > 1 else ''} compared",
            content=content,
            shown=shown,
            several=len(content["structures"]) > 1,
            best=measured[0] if measured else None,
            tables=[(structure, _table(content, structure, colours)) for structure in reversed(content["structures"])],
            metrics=METRICS,
            comparisons=sum(1 for row in rows if row["dice"]["test"] and row["dice"]["test"]["p"] is not None),
            tests=_tests(rows, content["reference"]),
            plots=_plots(content, ranked, colours, shown) if measured else {},
            legend=[Mark(name, i, 0.0, 0.0, 0.0) for name, i in colours.items()],
            failed=failed,
            done=len(content["members"]) - len(failed),
            cases=max((row["cases"] for row in rows), default=0),
            number=number_text,
            p_text=p_text,
            p_value=lambda p: p_text(p).removeprefix("p = ").removeprefix("p "),
            interval=interval_text,
        )
    )


def _plots(
    content: Mapping[str, Any], ranked: Sequence[Mapping[str, Any]], colours: Mapping[str, int], shown: str
) -> dict[str, Markup]:
    marks = {row["network"]: _mark(row["network"], colours, row["dice"], interval_text(row["dice"])) for row in ranked}
    share = (0.0, 1.0)
    reference = marks[content["reference"]].mean
    plots = {
        "forest": forest_plot(
            list(marks.values()),
            "mean Dice, 95 % interval",
            "Forest plot of mean Dice with 95 % intervals",
            line=reference if math.isfinite(reference) else None,
            within=share,
        ),
        "cost": scatter_plot(
            [(value_or(row["inference_s"]), marks[row["network"]]) for row in ranked],
            "seconds per case",
            "mean Dice",
            "Mean Dice against seconds per case",
            within=share,
        ),
        "parameters": scatter_plot(
            [(value_or(row["parameters_m"]), marks[row["network"]]) for row in ranked],
            "parameters, millions",
            "mean Dice",
            "Mean Dice against parameters",
            within=share,
        ),
        "sizes": group_plot(
            _size_groups(content, shown, colours), "Dice", "Dice by size of the reference", within=share
        ),
    }
    differences = [
        _mark(row["network"], colours, test | {"mean": test["difference"]}, p_text(test["p_holm"]))
        for row in ranked
        if (test := row["dice"]["test"])
    ]
    if differences:
        plots["differences"] = forest_plot(
            differences,
            f"difference in Dice from {content['reference']}, 95 % interval",
            f"Forest plot of paired differences from {content['reference']}",
            line=0.0,
            within=(-1.0, 1.0),
        )
    return {name: Markup(svg) for name, svg in plots.items()}


def _size_groups(
    content: Mapping[str, Any], shown: str, colours: Mapping[str, int]
) -> list[tuple[str, list[tuple[Mark, list[float]]]]]:
    """Each group's name, and for each network the mark and the cases that it sums up."""
    dice = {(c["network"], c["case_id"]): value_or(c["dice"]) for c in content["cases"] if c["structure"] == shown}
    groups = []
    for group in content["size_groups"]:
        marks = []
        for found in group["networks"]:
            name = found["network"]
            single = [dice[name, case_id] for case_id in group["case_ids"] if (name, case_id) in dice]
            marks.append((_mark(name, colours, found), single))
        groups.append((f"{_range(group)} (n = {len(group['case_ids'])})", marks))
    return groups


def _range(group: Mapping[str, Any]) -> str:
    low, high, unit = group["low"], group["high"], group["unit"]
    if low is None:
        return "all sizes" if high is None else f"below {high:.4g} {unit}"
    return f"from {low:.4g} {unit}" if high is None else f"{low:.4g} to {high:.4g} {unit}"


def _table(content: Mapping[str, Any], structure: str, colours: Mapping[str, int]) -> list[dict[str, Any]]:
    rows = [row for row in content["networks"] if row["structure"] == structure]
    best = {
        key: (min if key == "hd95_mm" else max)(
            (row[key]["mean"] for row in rows if row[key]["mean"] is not None), default=None
        )
        for key, _, _ in METRICS
    }
    return [
        {
            "row": row,
            "mark": Mark(row["network"], colours[row["network"]], 0.0, 0.0, 0.0),
            "best": {key: len(rows) > 1 and row[key]["mean"] == best[key] is not None for key in best},
        }
        for row in sorted(rows, key=lambda row: -value_or(row["dice"]["mean"], -1.0))
    ]


def _tests(rows: Sequence[Mapping[str, Any]], reference: str) -> list[dict[str, Any]]:
    return [
        {"network": row["network"], "metric": title, "digits": digits, **row[key]["test"]}
        for row in rows
        if row["network"] != reference
        for key, title, digits in METRICS
        if row[key]["test"]
    ]


def _mark(name: str, colours: Mapping[str, int], values: Mapping[str, float | None], note: str = "") -> Mark:
    mean = value_or(values["mean"])
    low, high = (value_or(values[key], mean) for key in ("low", "high"))  # without an interval the dot alone
    return Mark(name, colours[name], mean, low, high, note)
