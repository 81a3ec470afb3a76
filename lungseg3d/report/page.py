"""One self-contained HTML page of a case: for a person to read, print and send.

In: a `CaseResult`, and for a finished case its CT, label map and nodule map. Out: HTML text, images inside, the same
for the same input. Writes no file.
"""

from __future__ import annotations

import base64
import math
from functools import lru_cache
from typing import Any

import jinja2

from lungseg3d.core import CaseResult, Nodule, Severity, Volume
from lungseg3d.core.labels import LUNGS, NODULE
from lungseg3d.report.facts import Fact, list_facts
from lungseg3d.report.figures import axial_view, coronal_overview, nodule_panels
from lungseg3d.report.scene import Scene
from lungseg3d.report.sizes import size_row

MAX_BYTES = 5_000_000
MAX_PANELS = 20
MAX_KEY_SLICES = 8
_QUALITIES = (82, 60, 35)


def render_html(result: CaseResult, ct: Volume, labels: Volume, nodule_map: Volume) -> str:
    """The report of a finished case, at most `MAX_BYTES` long.

    Args:
        result: the record, nodules largest first.
        ct: int16 HU.
        labels: label map of `core.labels`; without lungs the whole volume is shown.
        nodule_map: one value per nodule, as `Nodule.id`.

    Raises:
        GeometryError: E_GRID_MISMATCH when the volumes do not lie on one grid.
    """
    scene = Scene.of(ct, labels, nodule_map)
    html = ""
    for quality in _QUALITIES:
        html = (
            environment()
            .get_template("report.html.j2")
            .render(
                **_facts(result),
                nodules=[_row(nodule, scene, ct) for nodule in result.nodules],
                lungs=_lungs(result),
                overview=_data_uri(coronal_overview(scene, "jpeg", quality)),
                key_slices=_key_slices(result, scene, ct, quality),
                cards=_cards(result, scene, ct, quality),
                max_panels=MAX_PANELS,
                slices=_slice_count(ct),
            )
        )
        if len(html.encode()) <= MAX_BYTES:
            break
    return html


def render_refusal(result: CaseResult) -> str:
    """The page of a case that was refused or failed: what was found and the way out."""
    return environment().get_template("refusal.html.j2").render(**_facts(result))


def _facts(result: CaseResult) -> dict[str, Any]:
    """What both pages show."""
    steps = [Fact(name.replace("_", " "), f"{_number(seconds, 2)} s") for name, seconds in result.timings_s.items()]
    if steps and "total" not in result.timings_s:
        steps.append(Fact("all steps", f"{_number(sum(result.timings_s.values()), 2)} s"))
    if result.peak_memory_mib is not None:
        steps.append(Fact("peak memory", f"{result.peak_memory_mib:.0f} MiB"))
    issues = sorted(result.issues, key=lambda issue: issue.severity != Severity.ERROR)
    return {
        "result": result,
        "issues": [{"issue": issue, "severity": issue.severity.value} for issue in issues],
        "groups": [
            ("Input", list_facts(result.source)),
            ("Grid", list_facts(result.grid)),
            ("Program and options", list_facts(result.provenance)),
            ("Time and memory", steps),
        ],
        "colours": {**{lung.name: lung.hex_colour for lung in LUNGS}, "nodule": NODULE.hex_colour},
    }


def _lungs(result: CaseResult) -> list[dict[str, str]]:
    titles = {lung.name: lung.title for lung in LUNGS}
    rows = [{"title": titles.get(lung.name, lung.name), "volume": _number(lung.volume_ml)} for lung in result.lungs]
    if len(rows) > 1:
        rows.append({"title": "Both lungs", "volume": _number(sum(lung.volume_ml for lung in result.lungs))})
    return rows


def _row(nodule: Nodule, scene: Scene, ct: Volume) -> dict[str, Any]:
    """One nodule's measurements as they are printed."""
    axis = ct.grid.ras_axes[0][2]
    slice_number = round(nodule.centroid_voxel[axis]) + 1
    if nodule.id in scene.boxes:
        slice_number = _slice_number(ct, scene.largest_section(nodule.id, axis=2))
    return {
        "id": nodule.id,
        "side": nodule.side,
        "volume": _number(nodule.volume_mm3, 0 if nodule.volume_mm3 >= 100 else 1),
        "axes": f"{_number(nodule.long_axis_mm, 1)} × {_number(nodule.perpendicular_mm, 1)}",
        "diameter": _number(nodule.equivalent_diameter_mm, 1),
        "mean_hu": _number(nodule.mean_hu),
        "kind": nodule.kind,
        "pleura": _number(nodule.pleura_distance_mm, 1),
        "confidence": _number(nodule.confidence, 2),
        "slice": slice_number,
        "position": ", ".join(_number(value, 1) for value in nodule.centroid_lps_mm),
        **size_row(nodule),
    }


def _key_slices(result: CaseResult, scene: Scene, ct: Volume, quality: int) -> list[dict[str, Any]]:
    """Axial slices that show the largest nodules, from head to feet; without nodules three levels of the chest."""
    chosen: set[int] = set()
    shown: set[int] = set()
    for nodule in result.nodules[:MAX_PANELS]:
        if nodule.id in scene.boxes and nodule.id not in shown and len(chosen) < MAX_KEY_SLICES:
            index = scene.largest_section(nodule.id, axis=2)
            chosen.add(index)
            shown.update(scene.nodules_in_slice(index))
    if not chosen:
        chest = scene.chest_box
        chosen = {chest.start[2] + int(share * (chest.shape[2] - 1)) for share in (0.25, 0.5, 0.75)}
    return [
        {
            "slice": _slice_number(ct, index),
            "nodules": scene.nodules_in_slice(index),
            "image": _data_uri(axial_view(scene, index, "jpeg", quality)),
        }
        for index in sorted(chosen, reverse=True)
    ]


def _cards(result: CaseResult, scene: Scene, ct: Volume, quality: int) -> list[dict[str, Any]]:
    """The magnified nodules, largest first."""
    cards = []
    for nodule in result.nodules[:MAX_PANELS]:
        panels = nodule_panels(scene, nodule.id, "jpeg", quality, side=360) if nodule.id in scene.boxes else ()
        pictures = [
            {
                "plane": panel.plane,
                "slice": _slice_number(ct, panel.section) if panel.plane == "axial" else None,
                "field": f"{panel.field_mm:.0f}",
                "outlined": _data_uri(panel.outlined),
                "plain": _data_uri(panel.plain),
            }
            for panel in panels
        ]
        cards.append({"nodule": _row(nodule, scene, ct), "panels": pictures})
    return cards


def _slice_number(ct: Volume, index: int) -> int:
    """RAS slice index -> number of the slice, from 1, in the order of the CT's own array."""
    order, signs = ct.grid.ras_axes
    return index + 1 if signs[2] > 0 else ct.shape[order[2]] - index


def _slice_count(ct: Volume) -> int:
    return ct.shape[ct.grid.ras_axes[0][2]]


def _number(value: float | None, digits: int = 0) -> str:
    """A number for people: thin spaces between thousands, a true minus, a dash where it is unknown."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{round(float(value), digits) + 0.0:,.{digits}f}".replace(",", "\u202f").replace("-", "−")


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """The templates of this room."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("lungseg3d.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
