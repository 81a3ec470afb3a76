"""One self-contained HTML page of a case: for a person to read, print and keep.

In: a `CaseResult`, and for a finished case its CT, label map and nodule map. Out: HTML text, images inside, the same
for the same input. Writes no file. Without scripts everything is there; the one script adds keys.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jinja2
import numpy as np

from lungseg3d.core import SERIOUS_CODES, CaseResult, LocalMap, LowConfidence, Nodule, Severity, Volume
from lungseg3d.core.labels import LUNGS, NODULE
from lungseg3d.report.pages.candidates import MOST_PICTURES, candidate_rows, candidate_scene
from lungseg3d.report.pages.embedding import data_uri, slice_number, slice_of, svg_path
from lungseg3d.report.pages.facts import Fact, list_facts
from lungseg3d.report.pages.headline import Headline, least_confidence_text, reasons_text
from lungseg3d.report.pages.nodule_rows import nodule_columns, nodule_measures, nodule_row
from lungseg3d.report.pages.sizes import size_row
from lungseg3d.report.pictures.figures import PanelStyle, axial_view, coronal_overview, nodule_panels
from lungseg3d.report.pictures.heat import DOUBT, HEAT, HeatScale
from lungseg3d.report.pictures.scene import Scene
from lungseg3d.report.plots.numbers import number_text

MAX_BYTES = 5_000_000
MAX_PANELS = 50
MAX_KEY_SLICES = 8
_STYLES = tuple(PanelStyle(side, "jpeg", quality) for side, quality in ((400, 85), (340, 75), (300, 60), (240, 40)))
_MOST_OF_STYLE = (12, 25, MAX_PANELS)  # nodules for which a style is tried at first
_OVERLAYS: dict[str, HeatScale] = {"uncertainty": DOUBT, "explanation": HEAT}


@dataclass(frozen=True, eq=False)
class NoduleMaps:
    """What can be laid over a nodule's panels, by its id, on the CT's own grid.

    Attributes:
        uncertainty: entropy, 0 to 1 bit.
        explanation: heat of Grad-CAM, 0 to 1.
    """

    uncertainty: Mapping[int, LocalMap] = field(default_factory=dict)
    explanation: Mapping[int, LocalMap] = field(default_factory=dict)

    def of(self, nodule_id: int, ct: Volume) -> dict[str, LocalMap]:
        """The maps of one nodule by name, on the axes of a scene."""
        by_name = {name: getattr(self, name).get(nodule_id) for name in _OVERLAYS}
        return {name: part.as_ras(ct.grid) for name, part in by_name.items() if part is not None}


def render_html(
    result: CaseResult,
    ct: Volume,
    labels: Volume,
    nodule_map: Volume,
    maps: NoduleMaps | None = None,
    low: LowConfidence | None = None,
    candidate_map: Volume | None = None,
) -> str:
    """The report of a finished case, at most `MAX_BYTES` long.

    Args:
        result: the record; nodules and candidates are shown in its order.
        ct: int16 HU.
        labels: label map of `core.labels`; without lungs the whole volume is shown.
        nodule_map: one value per nodule, as `Nodule.id`.
        maps: what can be laid over the nodules' panels.
        low: which nodules are marked as of low confidence.
        candidate_map: one value per candidate, as `Nodule.id`; None: candidates have no pictures.

    Raises:
        GeometryError: E_GRID_MISMATCH when the volumes do not lie on one grid.
    """
    scene = Scene.of(ct, labels, nodule_map)
    maps, low = maps or NoduleMaps(), low or LowConfidence()
    beside = candidate_scene(result, ct, labels, candidate_map)
    shown = [name for name in _OVERLAYS if getattr(maps, name)]
    html = ""
    for style in _styles_for(len(result.nodules)):
        quality = style.quality
        html = (
            environment()
            .get_template("report.html.j2")
            .render(
                **_facts(result),
                headline=Headline.of(result, low),
                columns=nodule_columns(result.nodules),
                nodules=[_row(nodule, scene, ct, low) for nodule in result.nodules],
                lungs=_lungs(result),
                overview=data_uri(coronal_overview(scene, "jpeg", quality)),
                key_slices=_key_slices(result, scene, ct, quality),
                cards=_cards(result, scene, ct, style, maps, low),
                candidates=candidate_rows(result, ct, beside, quality),
                least_confidence=least_confidence_text(result.operating_point),
                reasons=reasons_text(result.candidates),
                most_pictures=MOST_PICTURES,
                is_calibrated=any(nodule.certainty.calibrated_confidence is not None for nodule in result.findings),
                overlays=[{"name": name, "key": name[0], "css": _OVERLAYS[name].css} for name in shown],
                low=low,
                max_panels=MAX_PANELS,
                slices=_slice_count(ct),
                script=_script(),
                script_sha256=base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode("ascii"),
            )
        )
        if len(html.encode()) <= MAX_BYTES:
            break
    return html


def render_refusal(result: CaseResult) -> str:
    """The page of a case that was refused or failed: what was found and the way out."""
    return environment().get_template("refusal.html.j2").render(**_facts(result))


def _styles_for(nodules: int) -> Iterator[PanelStyle]:
    """From the first that suits so many nodules to the smallest."""
    first = next((i for i, most in enumerate(_MOST_OF_STYLE) if nodules <= most), len(_MOST_OF_STYLE) - 1)
    return iter(_STYLES[first:])


def _facts(result: CaseResult) -> dict[str, Any]:
    """What both pages show."""
    steps = [Fact(name.replace("_", " "), f"{number_text(seconds, 2)} s") for name, seconds in result.timings_s.items()]
    if steps and "total" not in result.timings_s:
        steps.append(Fact("all steps", f"{number_text(sum(result.timings_s.values()), 2)} s"))
    if result.peak_memory_mib is not None:
        steps.append(Fact("peak memory", f"{result.peak_memory_mib:.0f} MiB"))
    serious = sorted((i for i in result.issues if i.is_serious), key=lambda i: SERIOUS_CODES.index(i.code))
    issues = sorted((i for i in result.issues if not i.is_serious), key=lambda i: i.severity != Severity.ERROR)
    return {
        "result": result,
        "issues": [{"issue": issue, "severity": issue.severity.value} for issue in issues],
        "serious": [{"issue": issue, "severity": issue.severity.value} for issue in serious],
        "groups": [
            ("Input", list_facts(result.source)),
            ("Grid", list_facts(result.grid)),
            ("Operating point", list_facts(result.operating_point)),
            ("Checks of the image", list_facts(result.checks)),
            ("Program and options", list_facts(result.provenance)),
            ("Time and memory", steps),
        ],
        "colours": {**{lung.name: lung.hex_colour for lung in LUNGS}, "nodule": NODULE.hex_colour},
    }


def _lungs(result: CaseResult) -> list[dict[str, str]]:
    titles = {lung.name: lung.title for lung in LUNGS}
    rows = [{"title": titles.get(lung.name, lung.name), "volume": number_text(lung.volume_ml)} for lung in result.lungs]
    if len(rows) > 1:
        rows.append({"title": "Both lungs", "volume": number_text(sum(lung.volume_ml for lung in result.lungs))})
    return rows


def _key_slices(result: CaseResult, scene: Scene, ct: Volume, quality: int) -> list[dict[str, Any]]:
    """Axial slices that show the first nodules of the list, from head to feet; without any, three of the chest."""
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
            "slice": slice_number(ct, index),
            "nodules": scene.nodules_in_slice(index),
            "image": data_uri(axial_view(scene, index, "jpeg", quality)),
        }
        for index in sorted(chosen, reverse=True)
    ]


def _cards(
    result: CaseResult, scene: Scene, ct: Volume, style: PanelStyle, maps: NoduleMaps, low: LowConfidence
) -> list[dict[str, Any]]:
    """The first `MAX_PANELS` nodules of the list, magnified."""
    cards = []
    for nodule in result.nodules[:MAX_PANELS]:
        there = nodule.id in scene.boxes
        panels = nodule_panels(scene, nodule.id, style, maps.of(nodule.id, ct)) if there else ()
        pictures = [
            {
                "plane": panel.plane,
                "slice": slice_number(ct, panel.section) if panel.plane == "axial" else None,
                "field": f"{panel.field_mm:.0f}",
                "side": panel.side,
                "image": data_uri(panel.image),
                "outline": svg_path(panel.outline),
                "others": [_other(number, lines) for number, lines in panel.others.items()],
                "overlays": [
                    {"name": name, "image": data_uri(_OVERLAYS[name].png(values), "png")}
                    for name, values in panel.overlays.items()
                ],
            }
            for panel in panels
        ]
        row = _row(nodule, scene, ct, low)
        cards.append({"nodule": row, "panels": pictures, "measures": nodule_measures(row)})
    return cards


def _other(number: int, lines: tuple[np.ndarray, ...]) -> dict[str, Any]:
    """Outline and name of another nodule in the field."""
    points = np.concatenate(lines)
    right, top = points[:, 0].max(), points[:, 1].min()
    return {"id": number, "path": svg_path(lines), "x": f"{right + 4:.0f}", "y": f"{max(14.0, top):.0f}"}


def _row(nodule: Nodule, scene: Scene, ct: Volume, low: LowConfidence) -> dict[str, Any]:
    """One nodule's measurements as they are printed."""
    return {**nodule_row(nodule, slice_of(nodule, scene, ct), low), **size_row(nodule)}


def _slice_count(ct: Volume) -> int:
    return ct.shape[ct.grid.ras_axes[0][2]]


def _script() -> str:
    """The page's keys; the page allows this script by its checksum, and no other."""
    source, _, _ = environment().loader.get_source(environment(), "report.js")  # type: ignore[union-attr]
    return source


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
