"""Masks and probabilities -> lungs and nodules, measured in mm and HU. Never imports torch."""

from lungseg3d.analysis.candidates import CandidateRule, NoduleMap, find_nodules
from lungseg3d.analysis.lungs import segment_lungs_by_rules

__all__ = ["CandidateRule", "NoduleMap", "find_nodules", "segment_lungs_by_rules"]
