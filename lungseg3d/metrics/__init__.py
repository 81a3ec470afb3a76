"""Masks and marks in, numbers out, in mm; without torch, and equal to MONAI's where MONAI has them."""

from lungseg3d.metrics.agreement import (
    Agreement,
    Interval,
    bland_altman,
    bootstrap_mean,
    bootstrap_ratio,
    correlation,
    intraclass_correlation,
)
from lungseg3d.metrics.bands import BAND_BOUNDS, BAND_NAMES, BandVerdict, band_of
from lungseg3d.metrics.calibration import Reliability, reliability
from lungseg3d.metrics.comparison import PairedTest, holm, paired_test
from lungseg3d.metrics.confidence_map import ConfidenceMap, fit_confidence_map, held_out_confidences
from lungseg3d.metrics.detection import LEAST_IOU, NoduleMatches, NodulePair, match_nodules
from lungseg3d.metrics.froc import LUNA16_RATES, Froc, ScanMarks, ScanMatches, froc_curve, froc_interval, match_marks
from lungseg3d.metrics.operating_point import OperatingPoint, pick_operating_point
from lungseg3d.metrics.overlap import accuracy, dice, iou, ppv, sensitivity, specificity, volume_error
from lungseg3d.metrics.patient_means import LEAST_PATIENTS, mean_of_patients, proportion_interval
from lungseg3d.metrics.surfaces import (
    SurfaceDistances,
    hd95_mm,
    mean_surface_distance_mm,
    normalised_surface_dice,
    surface_distances_mm,
)

__all__ = [
    "BAND_BOUNDS",
    "BAND_NAMES",
    "LEAST_IOU",
    "LEAST_PATIENTS",
    "LUNA16_RATES",
    "Agreement",
    "BandVerdict",
    "ConfidenceMap",
    "Froc",
    "Interval",
    "NoduleMatches",
    "NodulePair",
    "OperatingPoint",
    "PairedTest",
    "Reliability",
    "ScanMarks",
    "ScanMatches",
    "SurfaceDistances",
    "accuracy",
    "band_of",
    "bland_altman",
    "bootstrap_mean",
    "bootstrap_ratio",
    "correlation",
    "dice",
    "fit_confidence_map",
    "froc_curve",
    "froc_interval",
    "hd95_mm",
    "held_out_confidences",
    "holm",
    "intraclass_correlation",
    "iou",
    "match_marks",
    "match_nodules",
    "mean_of_patients",
    "mean_surface_distance_mm",
    "normalised_surface_dice",
    "paired_test",
    "pick_operating_point",
    "ppv",
    "proportion_interval",
    "reliability",
    "sensitivity",
    "specificity",
    "surface_distances_mm",
    "volume_error",
]
