"""The shipped nodule bundle with the weights of one fold.

In: weights, and where the copy goes. Out: a bundle's folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lungseg3d.io import pin_weights, shipped_bundle


def bundle_of_fold(
    fold: int, weights: str | None, outlines: str | None, folder: Path, *, peak: float | None = None
) -> Path:
    """A copy of the shipped nodule bundle in `folder`, with other weights.

    Args:
        fold: takes the place of `{fold}` in both paths.
        weights: of the network that finds; None keeps the shipped ones.
        outlines: of the network that outlines; None leaves it out, unless the shipped weights are kept too. The network
            that judges stays: it has seen no nodule of a patient.
        folder: new folder.
        peak: least probability that a nodule must reach; None for the bundle's own.
    """
    shutil.copytree(shipped_bundle("lung_nodule_ct_segmentation"), folder)
    for of_the_shipped_weights in ("calibration.json", "operating_points.json"):
        (folder / "configs" / of_the_shipped_weights).unlink(missing_ok=True)
    models = folder / "models"
    if weights:
        shutil.copy(weights.format(fold=fold), models / "model.pt")
        # The shipped outlines have seen every nodule.
        (models / "outline.pt").unlink(missing_ok=True)
    if outlines:
        shutil.copy(outlines.format(fold=fold), models / "outline.pt")
    pin_weights(folder)
    if peak is not None:
        path = folder / "configs" / "inference.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["peak"] = peak
        path.write_text(json.dumps(config), encoding="utf-8")
    return folder
