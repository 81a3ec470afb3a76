"""A finished training -> a bundle of its own, which `segment` and `python -m monai.bundle run` take like a shipped one.

In: the trained bundle's folder, its training configuration, the weights. Out: a folder with configs, weights and their
SHA-256, a card, and records of the cases that the weights have seen and of what these were like.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from lungseg3d.core import BundleError, LungSegError, OutputError
from lungseg3d.io import copy_file, make_folder, pin_weights, placing_folder, write_text
from lungseg3d.tracking.facts import HIDDEN_PATH
from lungseg3d.workflows.bundle.training_range import write_training_range
from lungseg3d.workflows.train.checks import seen_in_training, training_entries
from lungseg3d.workflows.train.record import write_training_record

logger = logging.getLogger(__name__)

SHARED_KEYS = ("spacing_mm", "hu_range")
"""Keys that inference and training must agree on."""
WEIGHTS = {"network": "model.pt", "judge": "judge.pt", "outline": "outline.pt"}
"""What a training trains, its key `trains`, and where the weights of it lie in a bundle's `models`."""
LUNG_BUNDLE = "lung_ct_segmentation"

_CARD = """# {name}, trained anew

{weights} of a training by:

    {command}

Nothing here has been evaluated; `configs/evaluate.json` of {name} does that. Research use only; not a medical device.
"""


def write_trained_bundle(root: Path, parser: ConfigParser, weights: Path, folder: Path, command: str) -> Path:
    """Write the bundle of a training to `folder`, replacing one that is there.

    Args:
        root: bundle that was trained; gives configuration, metadata and licence.
        parser: configuration of the training; the definition of the network and `SHARED_KEYS` go from it into
            `inference.json`. One that trains a further network leaves the one that finds as it is in `root`. Its key
            `inference` names another configuration of `root` that takes the place of `inference.json`, with the
            weights of all further networks that it has beside the trained one.
        weights: plain state dict of the network.
        folder: new bundle's root.
        command: what trained it, for its card, which shows it without paths.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE; what lay there before stays.
        BundleError: E_CONFIGURATION when there is no such configuration.
    """
    chosen = str(parser.get("inference", "inference"))
    inference = _read(_inference_file(root, chosen))
    inference |= {key: parser[key] for key in SHARED_KEYS if key in parser.get()}
    trained = parser.get("trains", "network")
    inference[f"{trained}_def"] = parser["network_def"]
    if "lung_bundle_root" in inference:  # no longer beside the lung bundle
        inference["lung_bundle_root"] = {"_target_": "lungseg3d.inference.shipped_bundle", "name": LUNG_BUNDLE}
    metadata = _read(root / "configs" / "metadata.json")
    version = f"{metadata['version']}+trained"
    metadata["changelog"] = {version: f"Weights of another training of {root.name}.", **metadata["changelog"]}
    metadata["version"] = version
    copied = {f"models/{WEIGHTS[trained]}": weights}
    others = ["configs/logging.conf", "LICENSE", *_further_weights(inference, trained, chosen)]
    copied |= {name: root / name for name in others if (root / name).is_file()}
    card = _CARD.format(name=root.name, weights=f"`{weights.name}`", command=_without_paths(command))
    with placing_folder(folder, replace=True) as bundle:
        for part in ("configs", "models", "docs"):
            make_folder(bundle / part)
        for name, content in (("inference", inference), ("metadata", metadata)):
            write_text(bundle / "configs" / f"{name}.json", json.dumps(content, indent=4))
        for name, source in copied.items():
            copy_file(source, bundle / name)
        write_text(bundle / "docs" / "README.md", card)
        pin_weights(bundle)
        write_training_record(bundle, seen_in_training(parser))
        _keep_range(bundle, parser)
    return folder


def _inference_file(root: Path, chosen: str) -> Path:
    """The file of a configuration by its name, which is no path: a bundle speaks of its own files only."""
    path = root / "configs" / f"{chosen}.json"
    if not chosen.isidentifier() or not path.is_file():
        text = f"inference is {chosen!r}; {root.name} has no such file in configs/."
        raise BundleError("E_CONFIGURATION", text, "Give the name of one without its ending.")
    return path


def _further_weights(inference: Mapping[str, Any], trained: str, chosen: str) -> list[str]:
    """Files of weights that the new bundle needs beside those that were trained."""
    if chosen != "inference":
        return [f"models/{WEIGHTS[role]}" for role in WEIGHTS if role != trained and f"{role}_network" in inference]
    return [f"models/{WEIGHTS['network']}"] if trained != "network" else []


def _without_paths(command: str) -> str:
    """A bundle is handed on; where its data lay at home is nobody's business, and folders are named after patients."""
    return " ".join(HIDDEN_PATH if "/" in word or "\\" in word else shlex.quote(word) for word in shlex.split(command))


def _keep_range(bundle: Path, parser: ConfigParser) -> None:
    """What the training's CTs were like; where its data are gone by now, the bundle does without."""
    try:
        write_training_range(bundle, training_entries(parser), float(parser.get_parsed_content("spacing_mm")))
    except OutputError:
        raise
    except LungSegError as error:
        logger.warning("the range of the training's CTs is not known: %s", error)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
