"""What the networks make of one CT: the bundle's own steps, each timed, then what is asked beyond them.

In: a CT, opened models. Out: `Segmented`, on the CT's own grid. Knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from monai.transforms import Compose

from lungseg3d.analysis import NoduleMap
from lungseg3d.core import Volume
from lungseg3d.core.labels import NODULE
from lungseg3d.inference import SegmentLungsd
from lungseg3d.tensors import to_meta_tensor, to_volume
from lungseg3d.workflows.segment_extras import Extras, doubt_nodules, explain_nodules
from lungseg3d.workflows.segment_models import Models
from lungseg3d.workflows.segment_options import SegmentOptions
from lungseg3d.workflows.stopwatch import Stopwatch


@dataclass(frozen=True)
class Segmented:
    """What the networks made of one CT, on its own grid."""

    lungs: Volume
    labels: Volume
    nodules: Volume
    confidence: tuple[float, ...]
    extras: Extras


def run_networks(ct: Volume, models: Models, watch: Stopwatch, options: SegmentOptions) -> Segmented:
    """Lungs and nodules of one CT, confidence calibrated, with the doubt and the explanations that were asked for."""
    data: dict[str, Any] = {"image": to_meta_tensor(ct)}
    name = "lungs"
    for step in models.nodules.preprocessing.transforms:
        with watch.step(name):
            data = Compose([step])(data)  # Compose maps over lists and names the step that fails
        # What comes before the lungs counts to them, so that progress never goes back.
        name = "prepare" if isinstance(step, SegmentLungsd) else name
    with watch.step("nodules"):
        data = models.nodules.postprocessing(models.nodules.infer(data))
    # A whole map of a large CT is hundreds of MiB: none is held twice, or longer than it is asked for.
    nodules, lungs = to_volume(data["nodules"]), to_volume(data["lungs"])
    data = {name: data[name] for name in ("image", "nodules", "labels")}
    found = NoduleMap(nodules.with_array(_as_uint16(nodules.array)), tuple(data["nodules"].meta["confidence"]))
    kept = models.confidences.kept(found)
    extras = Extras()
    if options.uncertainty:
        with watch.step("uncertainty"):
            extras = replace(extras, doubts=doubt_nodules(models.nodules, data["image"], kept.labels))
    if options.explain:
        with watch.step("explain"):
            extras = replace(extras, explanations=explain_nodules(models.nodules, data["image"], kept.labels))
    labels = to_volume(data["labels"])
    if kept is not found:
        labels = lungs.with_array(lungs.array.copy(order="K"))
        np.copyto(labels.array, NODULE.value, where=kept.labels.array > 0)
    return Segmented(lungs, labels, kept.labels, kept.confidence, extras)


def _as_uint16(nodules: np.ndarray) -> np.ndarray:
    """A nodule map as it is written; torch holds it as int16, which is the same bits."""
    return nodules.view(np.uint16) if nodules.dtype == np.int16 else nodules.astype(np.uint16)
