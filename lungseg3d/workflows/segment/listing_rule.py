"""From which confidence findings are listed: the bundle's operating point, or what was asked for in its place.

In: an opened nodule bundle, `SegmentOptions`. Out: `ListingRule`: calibrated confidences, and which findings fall below
the point. Knows no file but the bundle's calibration and operating points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lungseg3d.analysis import LARGE_GLASS, Listing
from lungseg3d.analysis.nodules.candidates import NoduleMap
from lungseg3d.core import BundleError, Nodule, QualityIssue, UsageError, Volume
from lungseg3d.inference import Bundle, calibrated, check_point_name, read_calibration, read_points
from lungseg3d.inference.listing.transform import list_by_confidence
from lungseg3d.metrics import ConfidenceMap
from lungseg3d.workflows.segment.options import DEFAULT_POINT, SegmentOptions

KINDS = ("solid", "part-solid", "ground-glass", LARGE_GLASS)


@dataclass(frozen=True)
class ListingRule:
    """What decides whether a finding is listed.

    Attributes:
        fitted: the bundle's calibration; None where it has none for its weights and rule.
        least: kind of nodule -> confidence from which on it is listed: calibrated, or raw where nothing is calibrated.
        least_raw: raw confidence from which on any finding is listed, from a settings file; 0 asks for none.
        record: as `CaseResult.operating_point` holds it.
        issues: what a reader must know of calibration and point.
    """

    fitted: ConfidenceMap | None = None
    least: Mapping[str, float] = field(default_factory=dict)
    least_raw: float = 0.0
    record: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[QualityIssue, ...] = ()

    @staticmethod
    def of(bundle: Bundle, options: SegmentOptions) -> ListingRule:
        """Of an opened nodule bundle and what was asked.

        Raises:
            UsageError: E_BAD_OPTION for two ways of cutting at once.
            BundleError: E_CALIBRATION, E_OPERATING_POINTS for a file that is none; E_NO_OPERATING_POINT where something
                was asked for that needs a calibration or points that the bundle does not have.
        """
        check_listing_options(options)
        fitted, issues = read_calibration(bundle.root, bundle.confidence_sha256, bundle.rule_sha256)
        settings, name = options.settings, bundle.root.name
        issues = [*issues, *settings.issues(bundle.confidence_sha256)]
        asked = settings.least_calibrated_confidence if options.min_confidence is None else options.min_confidence
        if settings.least_confidence:
            record = {"name": "settings", "least_confidence": {}, "least_raw_confidence": settings.least_confidence}
            return ListingRule(fitted, {}, settings.least_confidence, record, tuple(issues))
        if asked is not None:
            if fitted is None and asked > 0:
                raise _nothing_to_cut(name, "a calibrated confidence", "calibration", issues)
            least = dict.fromkeys(KINDS, float(asked))
            word = "settings" if options.min_confidence is None else "min-confidence"
            return ListingRule(fitted, least, 0.0, {"name": word, "least_confidence": least}, tuple(issues))
        points, why = read_points(bundle.root, bundle.confidence_sha256, bundle.rule_sha256)
        if points is None or fitted is None:
            if options.operating_point != DEFAULT_POINT:
                raise _nothing_to_cut(name, f"the operating point {options.operating_point}", "point", why or issues)
            unlike = {issue.code for issue in issues}
            issues += [issue for issue in why if issue.code not in unlike]
            return ListingRule(fitted, {}, 0.0, {"name": "none", "least_confidence": {}}, tuple(issues))
        point = points.find(options.operating_point)
        return ListingRule(fitted, point.least_confidence, 0.0, point.to_json(), tuple(issues))

    def list_findings(self, ct: Volume, lungs: Volume | None, found: NoduleMap) -> Listing:
        """The findings of one CT, listed or kept as candidates, and numbered anew.

        Args:
            ct: HU.
            lungs: label map on the CT's grid, nodules not in it; None for a crop, where anatomy says nothing.
            found: everything that was found; its array is changed in place.
        """
        return list_by_confidence(ct, lungs, found, self.fitted, self.least, self.least_raw)

    def added_to(self, nodules: Sequence[Nodule]) -> list[Nodule]:
        """The nodules with their calibrated confidence, where there is a calibration."""
        return calibrated(nodules, self.fitted)


def check_listing_options(options: SegmentOptions) -> None:
    """Whether what is asked for can be one cut.

    Raises:
        UsageError: E_BAD_OPTION.
    """
    check_point_name(options.operating_point)
    least = options.min_confidence
    if least is not None and not 0 <= least <= 1:
        raise UsageError("E_BAD_OPTION", f"a least confidence of {least:g}: it lies between 0 and 1.")
    cuts = {
        "--operating-point": options.operating_point != DEFAULT_POINT,
        "--min-confidence": least is not None,
        "--settings": options.settings.has_cut,
    }
    given = [name for name, is_given in cuts.items() if is_given]
    if len(given) > 1:
        raise UsageError("E_BAD_OPTION", f"{' and '.join(given)} each say what is listed.", "Give one of them.")


def _nothing_to_cut(bundle: str, what: str, lacks: str, issues: Sequence[QualityIssue]) -> BundleError:
    reason = f" ({issues[0].message.rstrip('.')})" if issues else ""
    text = f"{bundle}: {what} was asked for, and the bundle has no {lacks} that holds{reason}."
    return BundleError("E_NO_OPERATING_POINT", text, "Leave it out: then everything that was found is listed.")
