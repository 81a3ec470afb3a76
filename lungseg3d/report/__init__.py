"""A segmented case for people and programs: CSV, JSON, figures, one self-contained HTML page."""

from lungseg3d.report.batch import batch_csv, render_batch
from lungseg3d.report.comparison import render_comparison
from lungseg3d.report.disagreement import Disagreement, disagreement_view
from lungseg3d.report.evaluation import WorstCase, render_evaluation
from lungseg3d.report.explanation import explanation_picture
from lungseg3d.report.figures import NodulePanel, PanelStyle, axial_view, coronal_overview, nodule_panels
from lungseg3d.report.follow_up import render_follow_up
from lungseg3d.report.follow_up_tables import FOLLOW_UP_SCHEMA_VERSION, changes_csv, follow_up_json
from lungseg3d.report.froc import render_froc
from lungseg3d.report.matched_planes import Time, numbers_of
from lungseg3d.report.page import NoduleMaps, render_html, render_refusal
from lungseg3d.report.scene import Scene
from lungseg3d.report.tables import SCHEMA_VERSION, nodules_csv, result_json

__all__ = [
    "FOLLOW_UP_SCHEMA_VERSION",
    "SCHEMA_VERSION",
    "Disagreement",
    "NoduleMaps",
    "NodulePanel",
    "PanelStyle",
    "Scene",
    "Time",
    "WorstCase",
    "axial_view",
    "batch_csv",
    "changes_csv",
    "coronal_overview",
    "disagreement_view",
    "explanation_picture",
    "follow_up_json",
    "nodule_panels",
    "nodules_csv",
    "numbers_of",
    "render_batch",
    "render_comparison",
    "render_evaluation",
    "render_follow_up",
    "render_froc",
    "render_html",
    "render_refusal",
    "result_json",
]
