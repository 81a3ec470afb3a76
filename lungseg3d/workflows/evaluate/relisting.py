"""`evaluate --operating-point`: the findings of finished results listed anew, at a point of the bundle that made them.

In: results with raw confidences, the bundle that made them. Out: a function of `Results`. Runs no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lungseg3d.analysis import BELOW_POINT, listing_kind
from lungseg3d.core import QualityIssue, UsageError
from lungseg3d.inference import (
    ListingPoint,
    check_point_name,
    read_calibration,
    read_points,
    rule_sha256_of,
    shipped_bundle,
)
from lungseg3d.io import CaseFolder, bundle_folder, joined_sha256, sha256_of
from lungseg3d.metrics import ConfidenceMap
from lungseg3d.workflows.evaluate.predictions import Predictions
from lungseg3d.workflows.evaluate.records import Finding, Results, has_no_lungs, read_results

_OTHER_BUNDLE = "Give the bundle that made the results[: --nodule-bundle DIR; or leave --operating-point out]."


@dataclass(frozen=True)
class PointListing:
    """Lists findings from an operating point on; what anatomy made a candidate stays one.

    Attributes:
        point: from which calibrated confidence findings of a kind are listed.
        fitted: the bundle's calibration.
    """

    point: ListingPoint
    fitted: ConfidenceMap

    def __call__(self, results: Results) -> Results:
        findings = {number: self._judged(finding) for number, finding in results.findings.items()}
        return replace(results, findings=findings, point=self.point.to_json())

    def _judged(self, finding: Finding) -> Finding:
        if finding.reason not in ("", BELOW_POINT):
            return finding
        sure = float(self.fitted([finding.confidence or 0.0])[0])
        least = self.point.least_confidence.get(listing_kind(finding.kind, finding.voxels_mm3), 0.0)
        return replace(finding, is_listed=sure >= least, reason="" if sure >= least else BELOW_POINT)


def listing_at(
    name: str, bundle: Path | None, entries: Sequence[Mapping[str, Any]], predictions: Predictions
) -> PointListing:
    """The listing at an operating point.

    Args:
        name: `default`, `sensitive` or `fp=N`.
        bundle: that made the results; None for the shipped one.
        entries: of the data list; cases without a prediction, or without lungs, ask for nothing.
        predictions: of the cases.

    Raises:
        UsageError: E_BAD_OPTION for another name; E_OPERATING_POINT where a prediction has no confidences, is of other
            weights than the bundle, or the bundle has no points that hold.
        BundleError: E_NO_BUNDLE, E_CALIBRATION, E_OPERATING_POINTS.
    """
    check_point_name(name)
    root = bundle_folder(bundle or shipped_bundle("lung_nodule_ct_segmentation"))
    files = [root / "models" / f"{role}.pt" for role in ("model", "judge")]
    weights = joined_sha256(*(sha256_of(file) for file in files if file.is_file()))
    for entry in entries:
        if why := _why_not(predictions.find_any(entry), weights, root.name):
            raise UsageError("E_OPERATING_POINT", f"{entry['case_id']}: {why}.", _OTHER_BUNDLE)
    rule = rule_sha256_of(root)
    fitted, issues = read_calibration(root, weights, rule)
    points, more = read_points(root, weights, rule)
    if fitted is None or points is None:
        raise UsageError("E_OPERATING_POINT", _without_points(root.name, [*issues, *more]), _OTHER_BUNDLE)
    return PointListing(points.find(name), fitted)


def _why_not(found: Path | None, weights_sha256: str, bundle: str) -> str:
    """Why the findings of a prediction cannot be listed at the points of a bundle; empty where they can."""
    if found is None:
        return ""
    is_result, folder = found.name == CaseFolder.LABELS, CaseFolder(found.parent)
    if is_result and has_no_lungs(folder):
        return ""
    results = read_results(folder) if is_result else Results()
    if not results.weights_sha256:
        return "the prediction does not say by which weights it was made, so it has no operating point"
    if results.weights_sha256 != weights_sha256:
        made = f"it was made by weights {results.weights_sha256[:12]}"
        return f"{made}, and the operating points of {bundle} are of {weights_sha256[:12]}"
    unsure = [number for number, finding in results.findings.items() if finding.confidence is None]
    return f"finding {unsure[0]} has no confidence" if unsure else ""


def _without_points(bundle: str, issues: Sequence[QualityIssue]) -> str:
    reason = issues[0].message if issues else f"{bundle} has no calibration."
    return f"{bundle} has no operating point that holds: {reason}"
