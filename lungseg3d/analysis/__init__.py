"""Masks and probabilities -> lungs and nodules, measured in mm and HU. Never imports torch."""

from lungseg3d.analysis.candidates import CandidateRule, NoduleMap, find_nodules
from lungseg3d.analysis.diameters import axial_diameters_mm
from lungseg3d.analysis.lung_quality import LUNG_CODES, check_lungs, compare_lungs
from lungseg3d.analysis.lungs import segment_lungs_by_rules
from lungseg3d.analysis.nodules import classed, kind_of, measure_lungs, measure_nodules
from lungseg3d.analysis.size_classes import NoduleSize, fleischner, lung_rads
from lungseg3d.analysis.volume_interval import volume_interval_mm3

__all__ = [
    "LUNG_CODES",
    "CandidateRule",
    "NoduleMap",
    "NoduleSize",
    "axial_diameters_mm",
    "check_lungs",
    "classed",
    "compare_lungs",
    "find_nodules",
    "fleischner",
    "kind_of",
    "lung_rads",
    "measure_lungs",
    "measure_nodules",
    "segment_lungs_by_rules",
    "volume_interval_mm3",
]
