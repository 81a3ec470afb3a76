"""What a bundle says of itself: version, weights, calibration, operating points and what each costs.

In: a bundle's folder. Out: `BundleInfo`. Runs no network and evaluates nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lungseg3d.core import BundleError, QualityIssue
from lungseg3d.inference import OperatingPoints, read_calibration, read_points, rule_sha256_of
from lungseg3d.inference.bundle import FURTHER
from lungseg3d.io import bundle_folder, joined_sha256, read_once, sha256_of

_MOST_BYTES = 2**20


@dataclass(frozen=True)
class BundleInfo:
    """Facts about a bundle.

    Attributes:
        name, version, description: of its metadata.
        weights: file name -> SHA-256.
        is_calibrated: whether it has a calibration for these weights and settings.
        points: its operating points; None where it has none that hold, and for bundles that find no nodules.
        issues: why calibration or points do not hold.
    """

    name: str
    version: str
    description: str
    weights: dict[str, str]
    is_calibrated: bool
    points: OperatingPoints | None
    issues: tuple[QualityIssue, ...]


def bundle_info(bundle: Path) -> BundleInfo:
    """Read what a bundle says of itself.

    Raises:
        BundleError: E_NO_BUNDLE for a folder that is none; E_CALIBRATION, E_OPERATING_POINTS for a damaged file.
    """
    root = bundle_folder(bundle)
    try:
        metadata = json.loads(read_once(root / "configs" / "metadata.json", _MOST_BYTES))
        name, version, description = (str(metadata.get(key, "")) for key in ("name", "version", "description"))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        text = f"{root.name}: no bundle (configs/metadata.json: {type(error).__name__})."
        raise BundleError("E_NO_BUNDLE", text, "Give the folder of a MONAI bundle.") from error
    files = [root / "models" / f"{role}.pt" for role in ("model", *FURTHER)]
    weights = {file.name: sha256_of(file) for file in files if file.is_file()}
    sure, rule = joined_sha256(weights.get("model.pt", ""), weights.get("judge.pt", "")), rule_sha256_of(root)
    fitted, issues = read_calibration(root, sure, rule)
    points, why = read_points(root, sure, rule)
    return BundleInfo(name or root.name, version, description, weights, fitted is not None, points, (*issues, *why))
