"""Floor 1: labels, volumes, records and errors. Standard library and NumPy only."""

from lungseg3d.core.codes import CODES, Code
from lungseg3d.core.errors import (
    BundleError,
    GeometryError,
    IntakeError,
    LungSegError,
    OutputError,
    TrainingError,
    UsageError,
)
from lungseg3d.core.follow_up import Change, Estimate, FollowUp, NoduleChange
from lungseg3d.core.islands import boxes_by_value, islands
from lungseg3d.core.json_form import finite, json_text, to_json
from lungseg3d.core.local_map import LocalMap, joined_maps
from lungseg3d.core.named_places import MIDDLE, Place, named_voxel, place_in
from lungseg3d.core.nodule import Nodule
from lungseg3d.core.records import (
    CANDIDATE_REASONS,
    NO_LUNGS,
    SERIOUS_CODES,
    Case,
    CaseResult,
    LowConfidence,
    Lung,
    QualityIssue,
    Severity,
    case_result_of,
)
from lungseg3d.core.volume import Box, Grid, Volume

__all__ = [
    "CANDIDATE_REASONS",
    "CODES",
    "MIDDLE",
    "NO_LUNGS",
    "SERIOUS_CODES",
    "Box",
    "BundleError",
    "Case",
    "CaseResult",
    "Change",
    "Code",
    "Estimate",
    "FollowUp",
    "GeometryError",
    "Grid",
    "IntakeError",
    "LocalMap",
    "LowConfidence",
    "Lung",
    "LungSegError",
    "Nodule",
    "NoduleChange",
    "OutputError",
    "Place",
    "QualityIssue",
    "Severity",
    "TrainingError",
    "UsageError",
    "Volume",
    "boxes_by_value",
    "case_result_of",
    "finite",
    "islands",
    "joined_maps",
    "json_text",
    "named_voxel",
    "place_in",
    "to_json",
]
