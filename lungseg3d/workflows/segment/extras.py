"""What `segment` adds when asked: doubt about each nodule, explanations.

In: an opened nodule bundle, the nodules that are listed. Out: more known of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from lungseg3d.core import LocalMap, Nodule, Volume, joined_maps
from lungseg3d.inference import (
    Bundle,
    NoduleDoubt,
    default_layer,
    doubt_nodules,
    grad_cam,
    list_layers,
    nodule_windows,
)
from lungseg3d.io import MAP_STEPS, CaseFolder, write_map
from lungseg3d.workflows.segment.options import SegmentOptions

__all__ = ["EXTRA_FILES", "Extras", "doubt_nodules", "explain_nodules", "extra_files", "write_extras"]
EXTRA_FILES = (CaseFolder.UNCERTAINTY, CaseFolder.EXPLANATION)
MOST_EXPLAINED = 50
"""Nodules of a case, the surest, that `segment` explains; `lungseg3d explain` takes any."""


@dataclass(frozen=True)
class Extras:
    """More about the nodules of one case.

    Attributes:
        doubts: by the nodule's value; empty when not asked for.
        explanations: heat of each nodule, by its value; empty when not asked for.
    """

    doubts: Mapping[int, NoduleDoubt] = field(default_factory=dict)
    explanations: Mapping[int, LocalMap] = field(default_factory=dict)

    @property
    def entropies(self) -> dict[int, LocalMap]:
        """The uncertainty map of each nodule."""
        return {number: doubt.entropy for number, doubt in self.doubts.items()}

    def added_to(self, nodules: Sequence[Nodule]) -> list[Nodule]:
        """The nodules with what is known of their doubt."""
        known = [(nodule, self.doubts.get(nodule.id)) for nodule in nodules]
        return [
            replace(
                nodule,
                certainty=replace(nodule.certainty, uncertainty=doubt.uncertainty, view_agreement=doubt.view_agreement),
            )
            if doubt
            else nodule
            for nodule, doubt in known
        ]


def explain_nodules(bundle: Bundle, image: torch.Tensor, nodules: Volume) -> dict[int, LocalMap]:
    """Grad-CAM at the default layer of the finding network, of the `MOST_EXPLAINED` surest nodules."""
    found, layer = {}, ""
    for window in nodule_windows(image, nodules, set(range(1, MOST_EXPLAINED + 1))):
        layer = layer or default_layer(list_layers(bundle.network, window.image))
        found[window.number] = window.on_source(grad_cam(bundle.network, window, layer), nodules.grid)
    return found


def extra_files(options: SegmentOptions) -> tuple[str, ...]:
    """Those of `EXTRA_FILES` that are asked for."""
    asked = ((CaseFolder.UNCERTAINTY, options.uncertainty), (CaseFolder.EXPLANATION, options.explain))
    return tuple(name for name, wanted in asked if wanted)


def write_extras(folder: Path, extras: Extras, ct: Volume, files: Sequence[str]) -> None:
    """Write those of `EXTRA_FILES` that are in `files`."""
    for name, maps in ((CaseFolder.UNCERTAINTY, extras.entropies), (CaseFolder.EXPLANATION, extras.explanations)):
        if name in files:
            write_map(folder / name, ct.with_array(joined_maps(maps.values(), ct.shape, MAP_STEPS)))
