"""A segmented case for people and programs: CSV, JSON, figures, one self-contained HTML page."""

from lungseg3d.report.comparison import render_comparison
from lungseg3d.report.disagreement import Disagreement, disagreement_view
from lungseg3d.report.evaluation import WorstCase, render_evaluation
from lungseg3d.report.explanation import explanation_picture
from lungseg3d.report.figures import NodulePanel, PanelStyle, axial_view, coronal_overview, nodule_panels
from lungseg3d.report.froc import render_froc
from lungseg3d.report.page import NoduleMaps, render_html, render_refusal
from lungseg3d.report.scene import Scene
from lungseg3d.report.tables import SCHEMA_VERSION, nodules_csv, result_json

__all__ = [
    "SCHEMA_VERSION",
    "Disagreement",
    "NoduleMaps",
    "NodulePanel",
    "PanelStyle",
    "Scene",
    "WorstCase",
    "axial_view",
    "coronal_overview",
    "disagreement_view",
    "explanation_picture",
    "nodule_panels",
    "nodules_csv",
    "render_comparison",
    "render_evaluation",
    "render_froc",
    "render_html",
    "render_refusal",
    "result_json",
]
