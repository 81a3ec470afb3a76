"""A bundle folder -> its parts: transforms, inferer, network with weights.

In: a MONAI bundle's root. Out: `Bundle`. What `python -m monai.bundle run` wires from `inference.json` is what is
opened here, so both give the same result. Knows no label and no file format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose

from lungseg3d.core import BundleError


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        root: its folder.
        name, version: from its metadata.
        weights_sha256: of `models/model.pt`, in hexadecimal.
        outline_sha256: of `models/outline.pt`; empty where the bundle has no network for outlines.
        network: on its device, in `eval` mode, weights loaded.
        preprocessing, inferer, postprocessing: as `inference.json` says; saving is left out.
        network_input: keys of the data that the inferer takes besides the image, such as a mask of lung.
    """

    root: Path
    name: str
    version: str
    weights_sha256: str
    outline_sha256: str
    network: torch.nn.Module
    preprocessing: Compose
    inferer: Any
    postprocessing: Compose
    network_input: Mapping[str, str]

    def infer(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Run the network on preprocessed data and add "pred": (C, X, Y, Z) on the working grid, with its affine."""
        d = dict(data)
        image = d["image"]
        extra = {name: d[key][None] for name, key in self.network_input.items() if key in d}
        with torch.no_grad():
            d["pred"] = self.inferer(image[None], self.network, **extra)[0]
        return d


def open_bundle(root: Path | str, *, skip: int = 0, **overrides: Any) -> Bundle:
    """Open the bundle at `root` for inference.

    Args:
        root: folder with `configs/inference.json` and `models/model.pt`; weights of a second network, the
            configuration's `outline_network`, may lie in `models/outline.pt`.
        skip: leading preprocessing steps left out, for callers that have read the CT already.
        **overrides: top-level keys of `inference.json` to set, such as `device` and `precision`.

    Raises:
        BundleError: E_NO_BUNDLE when files are missing, E_BAD_CHECKPOINT when the weights do not fit the network.
    """
    root = Path(root)
    config, weights = root / "configs" / "inference.json", root / "models" / "model.pt"
    for needed in (config, root / "configs" / "metadata.json", weights):
        if not needed.is_file():
            raise BundleError("E_NO_BUNDLE", f"{root} is not a trained bundle: {needed.relative_to(root)} is missing")
    parser = ConfigParser()
    parser.read_config(str(config))
    parser.read_meta(str(root / "configs" / "metadata.json"))
    parser["bundle_root"] = str(root)
    for key, value in overrides.items():
        parser[key] = value
    metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    network = parser.get_parsed_content("network")
    load_weights(network, weights)
    outline = root / "models" / "outline.pt"
    has_outline = outline.is_file() and "outline_network" in parser
    if has_outline:
        load_weights(parser.get_parsed_content("outline_network"), outline)
    steps = parser.get_parsed_content("preprocessing").transforms
    return Bundle(
        root=root,
        name=metadata.get("name", root.name),
        version=metadata["version"],
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        outline_sha256=hashlib.sha256(outline.read_bytes()).hexdigest() if has_outline else "",
        network=network.eval(),
        preprocessing=Compose(steps[skip:]),
        inferer=parser.get_parsed_content("inferer"),
        postprocessing=Compose(parser.get_parsed_content("postprocessing").transforms),
        network_input=parser.get("network_input", {}) or {},
    )


def load_weights(network: torch.nn.Module, weights: Path) -> None:
    """Load a plain state dict into a network, every key and shape as expected, no code run.

    Raises:
        BundleError: E_BAD_CHECKPOINT with the first five differences.
    """
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BundleError(
            "E_BAD_CHECKPOINT", f"{weights} cannot be read as weights: {error}".splitlines()[0]
        ) from error
    expected = {key: _shape(value) for key, value in network.state_dict().items()}
    found = {key: _shape(value) for key, value in state.items()} if isinstance(state, dict) else {}
    wrong = [f"{key}: {expected.get(key)} expected, {found.get(key)} found" for key in {**expected, **found}]
    wrong = [
        line for line, key in zip(wrong, {**expected, **found}, strict=True) if expected.get(key) != found.get(key)
    ]
    if wrong:
        raise BundleError(
            "E_BAD_CHECKPOINT",
            f"{weights} does not fit the bundle's network in {len(wrong)} places: " + "; ".join(wrong[:5]),
            "Take weights and configuration from the same bundle.",
        )
    network.load_state_dict(state, strict=True)


def _shape(value: Any) -> tuple[int, ...] | str:
    """Shape of a tensor; the type's name of what is none, such as a checkpoint's `epoch`."""
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
