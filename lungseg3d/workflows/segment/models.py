"""What segments a CT: the bundles, opened once for many cases, and the facts about them that go into every record.

In: `SegmentOptions`. Out: `Models`, provenance.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from lungseg3d.core import BundleError, QualityIssue, UsageError, Volume
from lungseg3d.inference import Bundle, Plan, SegmentLungsd, choose, open_bundle, outlining_step, shipped_bundle
from lungseg3d.io import Reading, trusting_bundles
from lungseg3d.tensors import keep_freed_memory, obstacle_to
from lungseg3d.workflows.bundle.training_range import RangeJudge, acquisition_of, read_training_range
from lungseg3d.workflows.segment.listing_rule import ListingRule, check_listing_options
from lungseg3d.workflows.segment.options import DEVICE_NAMES, SegmentOptions, is_device_name


@dataclass(frozen=True)
class Models:
    """The opened bundles and how they run."""

    nodules: Bundle
    lungs: Bundle | None
    device: torch.device
    plan: Plan
    listing: ListingRule
    ranges: tuple[RangeJudge, ...] = ()


def open_models(options: SegmentOptions) -> Models:
    """Open the bundles that the options name; on a CPU the process keeps the memory that their features take.

    Raises:
        BundleError: they cannot be opened, or not on this device, or not by this backend, or have no such operating
            point.
        UsageError: E_BAD_OPTION for an operating point that cannot be.
    """
    check_listing_options(options)
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
    if options.at:
        outlining_step(nodules)
    lungs = next(step.bundle for step in nodules.preprocessing.transforms if isinstance(step, SegmentLungsd))
    ranges = tuple(read_training_range(bundle.root, bundle.name) for bundle in (nodules, lungs) if bundle)
    return Models(nodules, lungs, device, plan, ListingRule.of(nodules, options), ranges)


def check_machine(options: SegmentOptions) -> None:
    """Whether this machine computes as the options ask.

    Raises:
        UsageError: E_DEVICE.
        BundleError: E_DEVICE, E_BACKEND, E_PRECISION.
    """
    choose(options.backend, options.precision, resolve_device(options.device))


def resolve_device(name: str, option: str = "--device ") -> torch.device:
    """The device of a name, once a small convolution there was right; `auto` takes a GPU that passes, else the CPU.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:1` and so on, or `mps`.
        option: what the device is asked for by, for the message.

    Raises:
        UsageError: E_DEVICE for another name.
        BundleError: E_DEVICE for a device that is not there, or does not compute.
    """
    if not is_device_name(name):
        raise UsageError("E_DEVICE", f"{option}{name}: this is no device.", f"There are {DEVICE_NAMES}.")
    if name == "auto":
        has_gpu = torch.cuda.is_available() and not obstacle_to("torch", "fp32", "cuda")
        return torch.device("cuda" if has_gpu else "cpu")
    reason = _absence(name) or ("" if name == "cpu" else obstacle_to("torch", "fp32", name))
    if reason:
        is_set = option != "--device "
        remedy = f"Use {option}cpu." if is_set else "[Use --device=cpu, or auto.|Choose the CPU.]"
        raise BundleError("E_DEVICE", f"{option}{name}: {reason}.", remedy)
    return torch.device(name)


def _absence(name: str) -> str:
    """Why a device cannot be had; empty where it can."""
    kind, _, number = name.partition(":")
    if kind == "mps" and not torch.backends.mps.is_available():
        return "PyTorch finds no GPU of an Apple computer here"
    if kind != "cuda":
        return ""
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        return "PyTorch finds no CUDA device here" if built else "this PyTorch is built for CPUs, without CUDA"
    count = torch.cuda.device_count()
    there = "there is one CUDA device, cuda:0" if count == 1 else f"there are cuda:0 to cuda:{count - 1}"
    return "" if int(number or 0) < count else there


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
    return joined_issues([issue for judge in models.ranges for issue in judge.issues(like)])


def joined_issues(issues: Sequence[QualityIssue]) -> list[QualityIssue]:
    """One issue for each code; bundles that say the same are named side by side, before the colon."""
    found: list[QualityIssue] = []
    for code in dict.fromkeys(issue.code for issue in issues):
        alike = [issue for issue in issues if issue.code == code]
        names: dict[str, list[str]] = {}
        for issue in alike:
            name, _, text = issue.message.partition(": ")
            names.setdefault(text, []).append(name)
        message = " ".join(f"{' and '.join(who)}: {text}" for text, who in names.items())
        found.append(QualityIssue(code, message, alike[0].remedy))
    return found


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
        | ({"at": [place if isinstance(place, str) else list(place) for place in options.at]} if options.at else {})
        | options.settings.facts,
    }
