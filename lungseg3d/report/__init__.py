"""A segmented case for people and programs: CSV, JSON, figures, one self-contained HTML page."""

from lungseg3d.report.pages.batch import batch_csv, render_batch
from lungseg3d.report.pages.case import NoduleMaps, render_html, render_refusal
from lungseg3d.report.pages.comparison import render_comparison
from lungseg3d.report.pages.evaluation import WorstCase, render_evaluation
from lungseg3d.report.pages.follow_up import render_follow_up
from lungseg3d.report.pages.froc import render_froc
from lungseg3d.report.pictures.disagreement import Disagreement, disagreement_view
from lungseg3d.report.pictures.explanation import explanation_picture
from lungseg3d.report.pictures.figures import NodulePanel, PanelStyle, axial_view, coronal_overview, nodule_panels
from lungseg3d.report.pictures.matched_planes import Time, numbers_of
from lungseg3d.report.pictures.scene import Scene
from lungseg3d.report.tables.case import SCHEMA_VERSION, nodules_csv, result_json
from lungseg3d.report.tables.csv_text import csv_text
from lungseg3d.report.tables.follow_up import FOLLOW_UP_SCHEMA_VERSION, changes_csv, follow_up_json

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
    "csv_text",
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
