"""One trained member of a comparison -> its measurements: a process of its own, with nothing left over from training.

In: a task (JSON file): configurations, overrides, weights. Out: `member.json` in the member's folder, whole or absent.
The cases, the preprocessing, the windows and the threshold are those of the bundle's own validation; the metrics
those of `lungseg3d.metrics`, on the working grid.

    python -m lungseg3d.workflows.compare.measures TASK.json
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lungseg3d.core import json_text
from lungseg3d.io import trusting_bundles, write_text
from lungseg3d.networks.cost import gflop_of
from lungseg3d.tensors import load_weights
from lungseg3d.workflows.evaluate.cases import measure_mask
from lungseg3d.workflows.train.checks import training_configuration


def measure_member(task: Mapping[str, Any]) -> dict[str, Any]:
    """Every held-out case of one member, segmented and measured.

    Args:
        task: `bundle`, `configs`, `overrides`, `fold`, `structures`, `weights` (a file), `folder`.

    Returns:
        `device`, `parameters` (number), `gflop` (see `gflop_of`), `inference_s` and
        measurements of each case. `inference_s` is from the image on the working grid to foreground probabilities;
        the first case is run twice and timed the second time, as the first pass of a process prepares kernels.

    Raises:
        BundleError: E_CHECKPOINT_HASH when the weights are not those that were trained; E_BAD_CHECKPOINT
            when the weights do not fit the network in every key and shape.
        RuntimeError: the network has other classes than the bundle's metadata names.
    """
    more = {"fold": task["fold"], "output_dir": task["folder"]}
    with trusting_bundles(task.get("trust_bundle", False)):
        parser = training_configuration(task["configs"], Path(task["bundle"]), task["overrides"], **more)
    network = parser.get_parsed_content("network").eval()
    load_weights(network, Path(task["weights"]), task.get("record", {}).get("weights_sha256"))
    parts = {key: parser.get_parsed_content(f"validate#{key}") for key in ("dataset", "inferer", "postprocessing")}
    device = parser.get_parsed_content("device")
    cases = []
    for number, data in enumerate(parts["dataset"]):
        image = data["image"][None].to(device)
        if number == 0:
            _segment(parts["inferer"], network, image)
        pred, inference_s = _segment(parts["inferer"], network, image)
        done = parts["postprocessing"]({"pred": pred, "label": data["label"].to(device)})
        prediction, reference = (torch.as_tensor(done[key]).bool().cpu().numpy() for key in ("pred", "label"))
        structures = measure_masks(prediction, reference, _spacing_mm(data["image"]), task["structures"])
        who = {"case_id": data["case_id"], "patient": data.get("patient") or data["case_id"]}
        cases.append({**who, "inference_s": inference_s, "structures": structures})
    return {
        "device": _name_of(device),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gflop": gflop_of(network, device),
        "cases": cases,
    }


def measure_masks(
    pred: np.ndarray, label: np.ndarray, spacing_mm: Sequence[float], structures: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Metrics of each structure of one case.

    Args:
        pred, label: bool (C, X, Y, Z), one channel for each structure.
        spacing_mm: of the grid.
        structures: names of the C channels.

    Returns:
        Of each structure what `measure_mask` gives, as `evaluate` has it.

    Raises:
        RuntimeError: there are other channels than structures.
    """
    if not len(pred) == len(label) == len(structures):
        raise RuntimeError(
            f"the network gives {len(pred)} foreground classes and the label {len(label)}, "
            f"but the bundle's metadata names {len(structures)}: {', '.join(structures)}"
        )
    pairs = zip(structures, pred, label, strict=True)
    return {name: measure_mask(prediction, reference, spacing_mm) for name, prediction, reference in pairs}


def _segment(inferer: Any, network: torch.nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, float]:
    """(C - 1, X, Y, Z) probabilities of a (1, 1, X, Y, Z) image, and the seconds they took."""
    _wait_for(image.device)
    start = time.perf_counter()
    with torch.no_grad():
        pred = inferer(image, network)[0]
    _wait_for(image.device)
    return pred, time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def _spacing_mm(image: Any) -> tuple[float, ...]:
    """Of a MetaTensor."""
    return tuple(float(size) for size in np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0))


def main(path: str) -> None:
    """Measure the member of a task file and write its record."""
    task = json.loads(Path(path).read_text(encoding="utf-8"))
    record = task["record"] | measure_member(task) | {"status": "done"}
    text = json_text(record, escape=True)
    write_text(Path(task["folder"]) / "member.json", text)


if __name__ == "__main__":
    main(sys.argv[1])
