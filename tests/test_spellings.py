"""What the library has one function or type for is not spelled out again elsewhere.

In: the source files of lungseg3d, as syntax trees. Out: nothing but verdicts. A module is named by its dotted path.
"""

from __future__ import annotations

import ast

import pytest

from lungseg3d.io import CaseFolder
from tests.test_floors import TREES

ELSEWHERE = {
    ("file of a case", "lungseg3d.workflows.evaluate.run"): "the nodules.csv of an evaluation, which is no case",
    ("file of a case", "lungseg3d.workflows.calibrate"): "the nodules.csv of an evaluation, which is no case",
    ("file of a case", "lungseg3d.data.manifests"): "the nodules.csv of a data set of cubes, which is no case",
    ("indented JSON", "lungseg3d.data.manifests"): "one case a line, its text indented by hand",
    ("indented JSON", "lungseg3d.workflows.train.bundle"): "configurations of MONAI's form, without a newline",
    ("indented JSON", "lungseg3d.engines.tracking.handler"): "an artifact of a run, with values that have no JSON form",
}
"""Who spells it out all the same, and why."""

FILES = {getattr(CaseFolder, name) for name in vars(CaseFolder) if name.isupper() and name != "MASKS"}


def _spelled_in(tree: ast.AST) -> set[str]:
    """Kinds of text that a module makes by itself."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in FILES:
            found.add("file of a case")
        elif isinstance(node, ast.Import) and "fcntl" in {alias.name for alias in node.names}:
            found.add("file lock")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("csv.writer", "csv.DictWriter"):
                found.add("CSV")
            elif called == "json.dumps" and any(option.arg == "indent" for option in node.keywords):
                found.add("indented JSON")
        elif isinstance(node, ast.Subscript) and ast.unparse(node) == "Callable[[str, str, float], None]":
            found.add("progress callback")
    return found


SPELLED = {module: _spelled_in(tree) for module, tree in TREES.items()}
HOMES = {
    "file of a case": ("lungseg3d.io.cases.results", "io.CaseFolder"),
    "CSV": ("lungseg3d.report.tables.csv_text", "report.csv_text"),
    "file lock": ("lungseg3d.io.storage.files", "io.FolderLock, or io.take_lock"),
    "indented JSON": ("lungseg3d.core.json_form", "core.json_text"),
    "progress callback": ("lungseg3d.core.progress", "core.progress.OnProgress"),
}


@pytest.mark.parametrize("kind", HOMES)
def test_one_module_alone_spells_it_out(kind):
    home, instead = HOMES[kind]
    spelled = {module for module, kinds in SPELLED.items() if kind in kinds}
    assert home in spelled, f"{home} has no {kind} any more: see HOMES"
    elsewhere = {module for what, module in ELSEWHERE if what == kind}
    assert spelled - {home} == elsewhere, f"Take {instead}, or give a reason in ELSEWHERE."
