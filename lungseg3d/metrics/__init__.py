"""Masks in, numbers out, in mm; without torch, and equal to MONAI's where MONAI has them."""

from lungseg3d.metrics.agreement import Agreement, Interval, bland_altman, bootstrap_mean
from lungseg3d.metrics.comparison import PairedTest, holm, paired_test
from lungseg3d.metrics.overlap import dice, iou, ppv, sensitivity, volume_error
from lungseg3d.metrics.surfaces import (
    hd95_mm,
    mean_surface_distance_mm,
    normalised_surface_dice,
    surface_distances_mm,
)

__all__ = [
    "Agreement",
    "Interval",
    "PairedTest",
    "bland_altman",
    "bootstrap_mean",
    "dice",
    "hd95_mm",
    "holm",
    "iou",
    "mean_surface_distance_mm",
    "normalised_surface_dice",
    "paired_test",
    "ppv",
    "sensitivity",
    "surface_distances_mm",
    "volume_error",
]
