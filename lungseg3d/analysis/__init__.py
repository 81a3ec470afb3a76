"""Masks and probabilities -> lungs and nodules, measured in mm and HU. Never imports torch."""

from lungseg3d.analysis.follow_up.changes import TimePoint, compare_nodules
from lungseg3d.analysis.follow_up.density_there import DensityAt
from lungseg3d.analysis.follow_up.field_of_view import FieldOfView
from lungseg3d.analysis.follow_up.lung_pictures import Chest
from lungseg3d.analysis.follow_up.matching import Match, Matching, gate_mm, match_over_time
from lungseg3d.analysis.follow_up.registration import LungRegistration, register_lungs
from lungseg3d.analysis.follow_up.registration_fit import LEAST_DICE, LEAST_LIKENESS, RegistrationFit
from lungseg3d.analysis.follow_up.scan_differences import are_one_ct, compare_noise, compare_scans
from lungseg3d.analysis.follow_up.volume_change import LEAST_CHANGE, doubling_time_days, volume_change, word_for
from lungseg3d.analysis.image.acquisition import (
    Acquisition,
    TrainingRange,
    measure_acquisition,
    range_json,
    range_of_json,
)
from lungseg3d.analysis.image.orientation import Orientation, check_orientation, find_orientation
from lungseg3d.analysis.lungs.by_rules import segment_lungs_by_rules
from lungseg3d.analysis.lungs.disease import LungDisease, check_disease, measure_disease
from lungseg3d.analysis.lungs.quality import check_lungs, compare_lungs
from lungseg3d.analysis.nodules.candidates import CandidateRule, NoduleMap, find_nodules
from lungseg3d.analysis.nodules.diameters import axial_diameters_mm
from lungseg3d.analysis.nodules.finding_places import anatomy_reasons
from lungseg3d.analysis.nodules.listing import BELOW_POINT, LARGE_GLASS, Listing, list_findings, listing_kind
from lungseg3d.analysis.nodules.measure import classed, kind_of, measure_lungs, measure_nodules
from lungseg3d.analysis.nodules.named_places import REACH_MM, map_places, place_issues
from lungseg3d.analysis.nodules.size_classes import NoduleSize, fleischner, lung_rads
from lungseg3d.analysis.nodules.volume_interval import volume_interval_mm3
from lungseg3d.analysis.pieces import Piece, pieces_of

__all__ = [
    "BELOW_POINT",
    "LARGE_GLASS",
    "LEAST_CHANGE",
    "LEAST_DICE",
    "LEAST_LIKENESS",
    "REACH_MM",
    "Acquisition",
    "CandidateRule",
    "Chest",
    "DensityAt",
    "FieldOfView",
    "Listing",
    "LungDisease",
    "LungRegistration",
    "Match",
    "Matching",
    "NoduleMap",
    "NoduleSize",
    "Orientation",
    "Piece",
    "RegistrationFit",
    "TimePoint",
    "TrainingRange",
    "anatomy_reasons",
    "are_one_ct",
    "axial_diameters_mm",
    "check_disease",
    "check_lungs",
    "check_orientation",
    "classed",
    "compare_lungs",
    "compare_nodules",
    "compare_noise",
    "compare_scans",
    "doubling_time_days",
    "find_nodules",
    "find_orientation",
    "fleischner",
    "gate_mm",
    "kind_of",
    "list_findings",
    "listing_kind",
    "lung_rads",
    "map_places",
    "match_over_time",
    "measure_acquisition",
    "measure_disease",
    "measure_lungs",
    "measure_nodules",
    "pieces_of",
    "place_issues",
    "range_json",
    "range_of_json",
    "register_lungs",
    "segment_lungs_by_rules",
    "volume_change",
    "volume_interval_mm3",
    "word_for",
]
