"""What segments a CT: the bundles, opened once for many cases, and the facts about them that go into every record.

In: `SegmentOptions`. Out: `Models`, provenance.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from lungseg3d.core import BundleError
from lungseg3d.inference import Bundle, SegmentLungsd, open_bundle, shipped_bundle
from lungseg3d.io import trusting_bundles
from lungseg3d.tensors import resolve_precision
from lungseg3d.workflows.segment_extras import Confidences
from lungseg3d.workflows.segment_options import SegmentOptions


@dataclass(frozen=True)
class Models:
    """The opened bundles and how they run."""

    nodules: Bundle
    lungs: Bundle | None
    device: torch.device
    precision: str
    confidences: Confidences


def open_models(options: SegmentOptions) -> Models:
    """Open the bundles that the options name.

    Raises:
        BundleError: they cannot be opened, or not on this device.
    """
    device = resolve_device(options.device)
    precision = resolve_precision(options.precision, device)
    lung_root = options.lung_bundle or shipped_bundle("lung_ct_segmentation")
    nodule_root = options.nodule_bundle or shipped_bundle("lung_nodule_ct_segmentation")
    with trusting_bundles(options.trust_bundle):
        nodules = open_bundle(
            nodule_root, skip=1, lung_bundle_root=str(lung_root), roi=options.roi, device=device, precision=precision
        )
    lungs = next(step.bundle for step in nodules.preprocessing.transforms if isinstance(step, SegmentLungsd))
    return Models(nodules, lungs, device, precision, Confidences.of(nodules, options.settings))


def resolve_device(name: str) -> torch.device:
    """The device of `auto`, `cpu` or `cuda`.

    Raises:
        BundleError: E_DEVICE when CUDA is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BundleError("E_DEVICE", "no CUDA device is available to PyTorch", "Use --device cpu or auto.")
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(automatic if name == "auto" else name)


def provenance_of(models: Models, options: SegmentOptions) -> dict[str, Any]:
    """Versions, bundles with the SHA-256 of their weights, and options, as they go into `CaseResult.provenance`."""
    bundles = {"nodules": models.nodules, **({"lungs": models.lungs} if models.lungs else {})}
    return {
        "versions": {name: version(name) for name in ("lungseg3d", "torch", "monai")}
        | {"python": platform.python_version()},
        "bundles": {
            role: {"name": bundle.name, "version": bundle.version, "weights_sha256": bundle.weights_sha256}
            | ({"outline_sha256": bundle.outline_sha256} if bundle.outline_sha256 else {})
            for role, bundle in bundles.items()
        },
        "options": {"roi": options.roi, "device": models.device.type, "precision": models.precision}
        | ({"least_confidence": cut} if (cut := options.settings.least_confidence) else {}),
    }
