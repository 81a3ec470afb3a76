"""What `segment` adds when asked: the confidence cut, calibrated confidences, doubt about each nodule, explanations.

In: an opened nodule bundle, the nodules found, settings. Out: fewer nodules, or more known of each. Knows no file
but the bundle's calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from lungseg3d.analysis import NoduleMap
from lungseg3d.core import LocalMap, Nodule, QualityIssue, Volume, joined_maps
from lungseg3d.inference import (
    Bundle,
    NoduleDoubt,
    default_layer,
    doubt_nodules,
    grad_cam,
    list_layers,
    nodule_windows,
)
from lungseg3d.inference.calibration_file import calibrated, read_calibration
from lungseg3d.io import MAP_STEPS, write_map
from lungseg3d.metrics import ConfidenceMap
from lungseg3d.workflows.segment_options import SegmentOptions
from lungseg3d.workflows.settings import Settings

__all__ = ["EXTRA_FILES", "Confidences", "Extras", "doubt_nodules", "explain_nodules", "extra_files", "write_extras"]
UNCERTAINTY_FILE, EXPLANATION_FILE = "uncertainty.nii.gz", "explanation.nii.gz"
EXTRA_FILES = (UNCERTAINTY_FILE, EXPLANATION_FILE)
MOST_EXPLAINED = 50
"""Nodules of a case, the largest, that `segment` explains; `lungseg3d explain` takes any."""


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
            replace(nodule, uncertainty=doubt.uncertainty, view_agreement=doubt.view_agreement) if doubt else nodule
            for nodule, doubt in known
        ]


@dataclass(frozen=True)
class Confidences:
    """What a bundle's confidences are worth: its calibration, and the cut that was asked for.

    Attributes:
        fitted: the bundle's calibration; None where it has none for its weights.
        settings: the cut.
        issues: what a reader must know of both.
    """

    fitted: ConfidenceMap | None
    settings: Settings
    issues: tuple[QualityIssue, ...]

    @staticmethod
    def of(bundle: Bundle, settings: Settings) -> Confidences:
        """Of an opened nodule bundle.

        Raises:
            BundleError: E_CALIBRATION.
        """
        fitted, issues = read_calibration(bundle.root, bundle.confidence_sha256)
        return Confidences(fitted, settings, (*issues, *settings.issues(bundle.confidence_sha256)))

    def added_to(self, nodules: Sequence[Nodule]) -> list[Nodule]:
        """The nodules with their calibrated confidence, where there is a calibration."""
        return calibrated(nodules, self.fitted)

    def kept(self, found: NoduleMap) -> NoduleMap:
        """Without the nodules below the cut; the others get new values, still the largest first."""
        return found.of_confidence(self.settings.least_confidence)


def explain_nodules(bundle: Bundle, image: torch.Tensor, nodules: Volume) -> dict[int, LocalMap]:
    """Grad-CAM at the default layer of the finding network, of the `MOST_EXPLAINED` largest nodules."""
    found, layer = {}, ""
    for window in nodule_windows(image, nodules, set(range(1, MOST_EXPLAINED + 1))):
        layer = layer or default_layer(list_layers(bundle.network, window.image))
        found[window.number] = window.on_source(grad_cam(bundle.network, window, layer), nodules.grid)
    return found


def extra_files(options: SegmentOptions) -> tuple[str, ...]:
    """Those of `EXTRA_FILES` that are asked for."""
    asked = ((UNCERTAINTY_FILE, options.uncertainty), (EXPLANATION_FILE, options.explain))
    return tuple(name for name, wanted in asked if wanted)


def write_extras(folder: Path, extras: Extras, ct: Volume, files: Sequence[str]) -> None:
    """Write those of `EXTRA_FILES` that are in `files`."""
    for name, maps in ((UNCERTAINTY_FILE, extras.entropies), (EXPLANATION_FILE, extras.explanations)):
        if name in files:
            write_map(folder / name, ct.with_array(joined_maps(maps.values(), ct.shape, MAP_STEPS)))
