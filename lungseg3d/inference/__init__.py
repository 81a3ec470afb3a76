"""Floor 4: a trained bundle at work: open it, run windows that hold lung, bring the result back onto the CT's grid."""

from lungseg3d.inference.bundle import Bundle, open_bundle
from lungseg3d.inference.candidates.centres import CentreSearch, FindCentresd
from lungseg3d.inference.candidates.confidence import CandidateConfidenced
from lungseg3d.inference.candidates.judge import JudgeCandidatesd
from lungseg3d.inference.candidates.named_places import outline_places, outlining_step
from lungseg3d.inference.candidates.outlines import OutlineCandidatesd
from lungseg3d.inference.candidates.search import CandidateSearch
from lungseg3d.inference.candidates.second_look import SecondLookd
from lungseg3d.inference.listing.calibration_file import calibrated, read_calibration
from lungseg3d.inference.listing.operating_points import (
    POINT_NAMES,
    ListingPoint,
    OperatingPoints,
    check_point_name,
    read_points,
)
from lungseg3d.inference.listing.rule_digest import rule_sha256, rule_sha256_of
from lungseg3d.inference.listing.transform import ListFindingsd
from lungseg3d.inference.lungs import LungsOnSourced, SegmentLungsd
from lungseg3d.inference.nodules import NodulesOnSourced
from lungseg3d.inference.prediction.meter import Meter, metered
from lungseg3d.inference.prediction.predictors import BACKENDS, Plan, choose, has_openvino, predictor_of
from lungseg3d.inference.prediction.scales import TwoScaleInferer
from lungseg3d.inference.prediction.views import MirroredViews
from lungseg3d.inference.prediction.windows import WindowInferer
from lungseg3d.inference.review.explanation import Layer, default_layer, grad_cam, list_layers
from lungseg3d.inference.review.nodule_windows import NoduleWindow, nodule_windows
from lungseg3d.inference.review.uncertainty import NoduleDoubt, doubt_nodules, outlining_views
from lungseg3d.inference.saving import SaveLabelMapsd
from lungseg3d.io import shipped_bundle

__all__ = [
    "BACKENDS",
    "POINT_NAMES",
    "Bundle",
    "CandidateConfidenced",
    "CandidateSearch",
    "CentreSearch",
    "FindCentresd",
    "JudgeCandidatesd",
    "Layer",
    "ListFindingsd",
    "ListingPoint",
    "LungsOnSourced",
    "Meter",
    "MirroredViews",
    "NoduleDoubt",
    "NoduleWindow",
    "NodulesOnSourced",
    "OperatingPoints",
    "OutlineCandidatesd",
    "Plan",
    "SaveLabelMapsd",
    "SecondLookd",
    "SegmentLungsd",
    "TwoScaleInferer",
    "WindowInferer",
    "calibrated",
    "check_point_name",
    "choose",
    "default_layer",
    "doubt_nodules",
    "grad_cam",
    "has_openvino",
    "list_layers",
    "metered",
    "nodule_windows",
    "open_bundle",
    "outline_places",
    "outlining_step",
    "outlining_views",
    "predictor_of",
    "read_calibration",
    "read_points",
    "rule_sha256",
    "rule_sha256_of",
    "shipped_bundle",
]
