"""Masks and probabilities -> lungs and nodules, measured in mm and HU. Never imports torch."""

from lungseg3d.analysis.candidates import CandidateRule, NoduleMap, find_nodules
from lungseg3d.analysis.diameters import axial_diameters_mm
from lungseg3d.analysis.lung_quality import LUNG_CODES, check_lungs, compare_lungs
from lungseg3d.analysis.lungs import segment_lungs_by_rules
from lungseg3d.analysis.nodules import kind_of, measure_lungs, measure_nodules

__all__ = [
    "LUNG_CODES",
    "CandidateRule",
    "NoduleMap",
    "axial_diameters_mm",
    "check_lungs",
    "compare_lungs",
    "find_nodules",
    "kind_of",
    "measure_lungs",
    "measure_nodules",
    "segment_lungs_by_rules",
]
