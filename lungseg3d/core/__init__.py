"""Floor 1: labels, volumes, records and errors. Standard library and NumPy only."""

from lungseg3d.core.errors import (
    BundleError,
    GeometryError,
    IntakeError,
    LungSegError,
    OutputError,
    TrainingError,
    UsageError,
)
from lungseg3d.core.local_map import LocalMap, joined_maps
from lungseg3d.core.records import Case, CaseResult, Lung, Nodule, QualityIssue, Severity, to_json
from lungseg3d.core.volume import Box, Grid, Volume

__all__ = [
    "Box",
    "BundleError",
    "Case",
    "CaseResult",
    "GeometryError",
    "Grid",
    "IntakeError",
    "LocalMap",
    "Lung",
    "LungSegError",
    "Nodule",
    "OutputError",
    "QualityIssue",
    "Severity",
    "TrainingError",
    "UsageError",
    "Volume",
    "joined_maps",
    "to_json",
]
