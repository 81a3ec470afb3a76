"""A bundle folder -> its parts: transforms, inferer, network with weights.

In: a MONAI bundle's root. Out: `Bundle`. What `python -m monai.bundle run` wires from `inference.json` is what is
opened here, so both give the same result. Knows no label and no file format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose

from lungseg3d.core import BundleError, LungSegError
from lungseg3d.inference.listing.rule_digest import rule_sha256
from lungseg3d.inference.prediction.configuration import parser_of
from lungseg3d.io import bundle_folder, check_bundle, joined_sha256, pinned_weights, read_pins
from lungseg3d.tensors import load_state

FURTHER = ("judge", "outline")
"""Roles of networks beside the one that finds: `<role>_network` of the configuration, weights in `models/<role>.pt`."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        root: its folder, absolute.
        name, version: from its metadata.
        weights_sha256: of `models/model.pt`, in hexadecimal.
        more_sha256: role of a further network (`FURTHER`) -> that of its weights; those that the bundle has.
        network: on its device, in `eval` mode, weights loaded.
        preprocessing, inferer, postprocessing: as `inference.json` says; saving is left out.
        network_input: keys of the data that the inferer takes besides the image, such as a mask of lung.
        rule_sha256: of the settings that decide which findings there are and how sure they are.
    """

    root: Path
    name: str
    version: str
    weights_sha256: str
    more_sha256: Mapping[str, str]
    network: torch.nn.Module
    preprocessing: Compose
    inferer: Any
    postprocessing: Compose
    network_input: Mapping[str, str]
    rule_sha256: str = ""

    @property
    def confidence_sha256(self) -> str:
        """Of the weights that say how sure a finding is: those that find and, where there are some, that judge."""
        return joined_sha256(self.weights_sha256, self.more_sha256.get("judge", ""))

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
        root: folder with `configs/inference.json` and `models/model.pt`; weights of further networks, such as the
            configuration's `outline_network`, may lie beside it, see `FURTHER`.
        skip: leading preprocessing steps left out, for callers that have read the CT already.
        **overrides: top-level keys of `inference.json` to set, such as `device` and `precision`.

    Raises:
        BundleError: E_NO_BUNDLE when files are missing; E_CONFIGURATION when it cannot be
            built; E_UNTRUSTED_CONFIG when the configuration could do more than
            its task, see `lungseg3d.io.check_bundle`; E_CHECKPOINT_HASH when the weights are not the pinned ones,
            E_UNSAFE_CHECKPOINT when they hold more than tensors, E_BAD_CHECKPOINT when they do not fit the network.
    """
    root = bundle_folder(root)
    config, weights = root / "configs" / "inference.json", root / "models" / "model.pt"
    for needed in (config, root / "configs" / "metadata.json", weights):
        if not needed.is_file():
            raise BundleError("E_NO_BUNDLE", f"{root} is not a trained bundle: {needed.relative_to(root)} is missing")
    checked = check_bundle(root, [config])
    pins = read_pins(root)
    data, weights_sha256 = pinned_weights(root, weights.name, pins)
    parser = parser_of(checked)
    for key, value in overrides.items():
        parser[key] = value
    rule = rule_sha256(parser.get())
    metadata = checked.metadata or {}
    network = _part(parser, "network")
    load_state(network, data, str(weights))
    more_sha256 = {}
    for role in FURTHER:
        further = root / "models" / f"{role}.pt"
        if further.is_file() and f"{role}_network" in parser:
            data, more_sha256[role] = pinned_weights(root, further.name, pins)
            load_state(_part(parser, f"{role}_network"), data, str(further))
    steps = _part(parser, "preprocessing").transforms
    return Bundle(
        root=root,
        name=str(metadata.get("name", root.name)),
        version=str(metadata.get("version", "")),
        weights_sha256=weights_sha256,
        more_sha256=more_sha256,
        network=network.eval(),
        preprocessing=Compose(steps[skip:]),
        inferer=_part(parser, "inferer"),
        postprocessing=Compose(_part(parser, "postprocessing").transforms),
        network_input=parser.get("network_input", {}) or {},
        rule_sha256=rule,
    )


def _part(parser: ConfigParser, key: str) -> Any:
    """What the configuration has under a key, built; a refusal from further down as it was, not as MONAI wraps it.

    Raises:
        BundleError: E_CONFIGURATION.
    """
    try:
        return parser.get_parsed_content(key)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, LungSegError):
            error, cause = (cause if isinstance(cause, Exception) else error), cause.__cause__
        if cause is not None:
            raise cause from None
        text = f"configs/inference.json: {key} cannot be built ({type(error).__name__}: {error})"
        raise BundleError("E_CONFIGURATION", text, "Mend the configuration, or take the bundle again.") from error
