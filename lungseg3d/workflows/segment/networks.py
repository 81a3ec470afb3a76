"""What the networks make of one CT: the bundle's own steps, each timed, then what is asked beyond them.

In: a CT, opened models. Out: `Segmented`, on the CT's own grid. Knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from lungseg3d.analysis import Listing, NoduleMap
from lungseg3d.core import Place, Volume
from lungseg3d.core.labels import NODULE
from lungseg3d.core.stopwatch import Stopwatch
from lungseg3d.inference import SegmentLungsd
from lungseg3d.tensors import to_meta_tensor, to_volume
from lungseg3d.workflows.segment.extras import Extras, doubt_nodules, explain_nodules
from lungseg3d.workflows.segment.models import Models
from lungseg3d.workflows.segment.options import SegmentOptions
from lungseg3d.workflows.segment.places import outline_named, places_in, with_places_in_view


@dataclass(frozen=True)
class Segmented:
    """What the networks made of one CT, on its own grid.

    Attributes:
        lungs: label map without nodules.
        labels: the same with the listed nodules.
        listing: all findings, listed ones and candidates.
        extras: of the listed ones.
        places: what a person named, with the nodules that were outlined there; these have no confidence.
    """

    lungs: Volume
    labels: Volume
    listing: Listing
    extras: Extras
    places: tuple[Place, ...] = ()

    @property
    def nodules(self) -> Volume:
        """The listed nodules, one value each."""
        return self.listing.nodules.labels


def run_networks(ct: Volume, models: Models, watch: Stopwatch, options: SegmentOptions) -> Segmented:
    """Lungs and findings of one CT, listed by the rule, with the doubt and the explanations that were asked for."""
    places = places_in(options, ct.grid)
    data: dict[str, Any] = {"image": to_meta_tensor(ct)}
    name = "lungs"
    for step in models.nodules.preprocessing.transforms:
        with watch.step(name):
            data = Compose([step])(data)  # Compose maps over lists and names the step that fails
        # What comes before the lungs counts to them, so that progress never goes back.
        name = "prepare" if isinstance(step, SegmentLungsd) else name
        if places and isinstance(step, SegmentLungsd) and options.roi == "lungs":
            data = with_places_in_view(data, places)
    if places:
        return _segmented_at(places, data, models, watch, options)
    with watch.step("nodules"):
        data = models.nodules.postprocessing(models.nodules.infer(data))
        # A whole map of a large CT is hundreds of MiB: none is held twice, or longer than it is asked for.
        nodules, lungs, labels = (to_volume(data[key]) for key in ("nodules", "lungs", "labels"))
        data = {name: data[name] for name in ("image", "nodules")}
        found = NoduleMap(nodules.with_array(_as_uint16(nodules.array)), tuple(data["nodules"].meta["confidence"]))
        listing = models.listing.list_findings(ct, lungs if options.roi == "lungs" else None, found)
        _restore_lungs(labels, lungs, listing.candidates)
    extras = _extras(data["image"], listing.nodules.labels, models, watch, options)
    return Segmented(lungs, labels, listing, extras)


def _restore_lungs(labels: Volume, lungs: Volume, candidates: NoduleMap) -> None:
    """Give the voxels of candidates, in place, the labels that they have without them."""
    for box in candidates.boxes:
        place = box.slices
        np.copyto(labels.array[place], lungs.array[place], where=candidates.labels.array[place] > 0)


def _segmented_at(
    places: tuple[Place, ...], data: dict[str, Any], models: Models, watch: Stopwatch, options: SegmentOptions
) -> Segmented:
    """What lies at the places that are named, outlined; nothing is searched for, so nothing has a confidence."""
    lungs = to_volume(data["lungs"])
    with watch.step("nodules"):
        found, outlined = outline_named(models.nodules, data["image"], places, lungs.grid)
    extras = _extras(data["image"], found.labels, models, watch, options)
    labels = lungs.with_array(lungs.array.copy(order="K"))
    np.copyto(labels.array, NODULE.value, where=found.labels.array > 0)
    nothing = NoduleMap(found.labels.with_array(np.zeros_like(found.labels.array)), ())
    listing = Listing(found, nothing, reasons=(), order=tuple(range(1, len(found.boxes) + 1)))
    return Segmented(lungs, labels, listing, extras, outlined)


def _extras(image: torch.Tensor, nodules: Volume, models: Models, watch: Stopwatch, options: SegmentOptions) -> Extras:
    """The doubt and the explanations that were asked for."""
    extras = Extras()
    if options.uncertainty:
        with watch.step("uncertainty"):
            extras = replace(extras, doubts=doubt_nodules(models.nodules, image, nodules))
    if options.explain:
        with watch.step("explain"):
            extras = replace(extras, explanations=explain_nodules(models.nodules, image, nodules))
    return extras


def _as_uint16(nodules: np.ndarray) -> np.ndarray:
    """A nodule map as it is written; torch holds it as int16, which is the same bits."""
    return nodules.view(np.uint16) if nodules.dtype == np.int16 else nodules.astype(np.uint16)
