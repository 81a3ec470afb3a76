"""The bundle's own list of findings, for those who run it by `python -m monai.bundle run`.

In: the CT, lungs, and everything that was found, on the CT's grid. Out: listed nodules, labels, candidates, as
`lungseg3d segment` lists them at the default point. Reads the bundle's calibration and operating points.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from lungseg3d.analysis import BELOW_POINT, Listing, NoduleMap, anatomy_reasons, list_findings
from lungseg3d.core import BundleError, LowConfidence, Volume
from lungseg3d.inference.listing.calibration_file import read_calibration
from lungseg3d.inference.listing.operating_points import DEFAULT_POINT, read_points
from lungseg3d.inference.listing.rule_digest import rule_sha256_of
from lungseg3d.io import joined_sha256, sha256_of
from lungseg3d.metrics import ConfidenceMap
from lungseg3d.tensors import to_meta_tensor, to_volume


def list_by_confidence(
    ct: Volume,
    lungs: Volume | None,
    found: NoduleMap,
    fitted: ConfidenceMap | None,
    least: Mapping[str, float],
    least_raw: float = 0.0,
) -> Listing:
    """List findings by their calibrated confidence and by where they lie.

    Args:
        ct: HU.
        lungs: label map on the CT's grid, nodules not in it; None, or one without lungs: anatomy says nothing.
        found: everything that was found; its array is changed in place.
        fitted: the calibration; None orders and cuts by the raw confidence.
        least: as in `analysis.list_findings`.
        least_raw: raw confidence from which on any finding is listed; 0 asks for none.
    """
    raw = found.confidence
    sure = raw if fitted is None else fitted(raw).tolist()
    by_anatomy = ("",) * len(raw) if lungs is None else anatomy_reasons(ct, lungs, found)
    below = [BELOW_POINT if value < least_raw else "" for value in raw]
    objections = [anatomy or cut for anatomy, cut in zip(by_anatomy, below, strict=True)]
    doubt = LowConfidence().uncalibrated if fitted is None else LowConfidence().calibrated
    return list_findings(ct, found, sure, least, objections, doubt)


class ListFindingsd(MapTransform):
    """Part the findings under `keys` into listed nodules and candidates.

    Args:
        keys: nodule map (1, X, Y, Z) whose `meta["confidence"]` has one value a finding (`NodulesOnSourced`); listed
            nodules afterwards, 1 = the surest.
        bundle_root: folder of the bundle whose calibration and points hold; without points everything is listed.
        operating_point: `default`, `sensitive` or `fp=N`.
        source_key, lungs_key, labels_key: CT, lung label map, and the label map that shall hold listed nodules alone.
        output_key: where the candidates go; their values count on behind those of the nodules.
    """

    def __init__(
        self,
        keys: KeysCollection,
        bundle_root: str,
        operating_point: str = DEFAULT_POINT,
        source_key: str = "ct",
        lungs_key: str = "lungs",
        labels_key: str = "labels",
        output_key: str = "candidates",
    ) -> None:
        super().__init__(keys)
        self.source_key, self.lungs_key, self.labels_key = source_key, lungs_key, labels_key
        self.output_key = output_key
        root = Path(bundle_root)
        weights = joined_sha256(*(sha256_of(p) for p in _weights(root) if p.is_file()))
        self.fitted, _ = read_calibration(root, weights, rule_sha256_of(root))
        points, _ = read_points(root, weights, rule_sha256_of(root))
        if points is None and operating_point != DEFAULT_POINT:
            text = f"{root.name}: no measured operating point {operating_point}."
            raise BundleError("E_NO_OPERATING_POINT", text, "Leave it out: then everything that was found is listed.")
        self.least = points.find(operating_point).least_confidence if points and self.fitted else {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        ct, lungs, labels = (to_volume(d[key]) for key in (self.source_key, self.lungs_key, self.labels_key))
        for key in self.key_iterator(d):
            meta = dict(d[key].meta)
            nodules = to_volume(d[key])
            found = NoduleMap(nodules.with_array(nodules.array.astype(np.uint16)), tuple(meta["confidence"]))
            listing = list_by_confidence(ct, lungs, found, self.fitted, self.least)
            apart = listing.candidates.labels
            d[key] = to_meta_tensor(listing.nodules.labels, meta | {"confidence": list(listing.nodules.confidence)})
            d[self.output_key] = to_meta_tensor(apart, meta | {"confidence": list(listing.candidates.confidence)})
            whole = np.where(apart.array > 0, lungs.array, labels.array).astype(labels.array.dtype)
            d[self.labels_key] = to_meta_tensor(labels.with_array(whole), dict(d[self.labels_key].meta))
        return d


def _weights(root: Path) -> list[Path]:
    return [root / "models" / name for name in ("model.pt", "judge.pt")]
