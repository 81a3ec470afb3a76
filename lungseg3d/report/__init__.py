"""A segmented case for people and programs: CSV, JSON, figures, one self-contained HTML page."""

from lungseg3d.report.tables import SCHEMA_VERSION, nodules_csv, result_json

__all__ = [
    "SCHEMA_VERSION",
    "nodules_csv",
    "result_json",
]
