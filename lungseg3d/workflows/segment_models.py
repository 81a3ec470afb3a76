"""What segments a CT: the bundles, opened once for many cases, and the facts about them that go into every record.

In: `SegmentOptions`. Out: `Models`, provenance.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from lungseg3d.core import BundleError, QualityIssue, Volume
from lungseg3d.inference import Bundle, Plan, SegmentLungsd, choose, open_bundle, shipped_bundle
from lungseg3d.io import Reading, trusting_bundles
from lungseg3d.tensors import keep_freed_memory
from lungseg3d.workflows.segment_extras import Confidences
from lungseg3d.workflows.segment_options import SegmentOptions
from lungseg3d.workflows.training_range import RangeJudge, acquisition_of, read_training_range


@dataclass(frozen=True)
class Models:
    """The opened bundles and how they run."""

    nodules: Bundle
    lungs: Bundle | None
    device: torch.device
    plan: Plan
    confidences: Confidences
    ranges: tuple[RangeJudge, ...] = ()


def open_models(options: SegmentOptions) -> Models:
    """Open the bundles that the options name; on a CPU the process keeps the memory that their features take.

    Raises:
        BundleError: they cannot be opened, or not on this device, or not by this backend.
    """
    device = resolve_device(options.device)
    plan = choose(options.backend, options.precision, device)
    if device.type == "cpu":
        keep_freed_memory()
    lung_root = options.lung_bundle or shipped_bundle("lung_ct_segmentation")
    nodule_root = options.nodule_bundle or shipped_bundle("lung_nodule_ct_segmentation")
    # `auto` stays, so that PyTorch may step in for a network that OpenVINO cannot take.
    how = {"device": device, "precision": plan.precision, "backend": options.backend}
    with trusting_bundles(options.trust_bundle):
        nodules = open_bundle(nodule_root, skip=1, lung_bundle_root=str(lung_root), roi=options.roi, **how)
    lungs = next(step.bundle for step in nodules.preprocessing.transforms if isinstance(step, SegmentLungsd))
    ranges = tuple(read_training_range(bundle.root, bundle.name) for bundle in (nodules, lungs) if bundle)
    return Models(nodules, lungs, device, plan, Confidences.of(nodules, options.settings), ranges)


def resolve_device(name: str) -> torch.device:
    """The device of `auto`, `cpu` or `cuda`.

    Raises:
        BundleError: E_DEVICE when CUDA is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BundleError(
            "E_DEVICE", "no CUDA device is available to PyTorch", "[Use --device=cpu, or auto.|Choose the CPU.]"
        )
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(automatic if name == "auto" else name)


def range_issues(models: Models, reading: Reading, labels: Volume | None) -> list[QualityIssue]:
    """W_OOD_* for a CT unlike those that the bundles were trained on; nothing where they do not say what they saw.

    Args:
        models: the opened bundles.
        reading: the CT.
        labels: its lungs; None for a crop.
    """
    if not any(judge.found for judge in models.ranges):
        return []
    like = acquisition_of(reading.volume, labels, reading.source)
    return [issue for judge in models.ranges for issue in judge.issues(like)]


def provenance_of(models: Models, options: SegmentOptions) -> dict[str, Any]:
    """Versions, bundles with the SHA-256 of their weights, and options, as they go into `CaseResult.provenance`."""
    bundles = {"nodules": models.nodules, **({"lungs": models.lungs} if models.lungs else {})}
    return {
        "versions": {name: version(name) for name in ("lungseg3d", "torch", "monai")}
        | {"python": platform.python_version()},
        "bundles": {
            role: {"name": bundle.name, "version": bundle.version, "weights_sha256": bundle.weights_sha256}
            | {f"{further}_sha256": sha256 for further, sha256 in bundle.more_sha256.items()}
            for role, bundle in bundles.items()
        },
        "options": {
            "roi": options.roi,
            "device": models.device.type,
            "backend": models.plan.backend,
            "precision": models.plan.precision,
        }
        | options.settings.facts,
    }
