"""What the library has one function or type for is not spelled out again elsewhere.

In: the source files of lungseg3d, as syntax trees. Out: nothing but verdicts. A module is named by its dotted path.
"""

from __future__ import annotations

import ast

import pytest

from tests.test_floors import TREES

ELSEWHERE = {
    ("indented JSON", "lungseg3d.data.manifests"): "one case a line, its text indented by hand",
    (
        "indented JSON",
        "lungseg3d.workflows.train.bundle",
    ): "configurations of MONAI's form, without a newline",
    ("indented JSON", "lungseg3d.engines.tracking.handler"): "an artifact of a run, with values that have no JSON form",
}
"""Who spells it out all the same, and why."""


def _spelled_in(tree: ast.AST) -> set[str]:
    """Kinds of text that a module makes by itself."""
    found = set()
    for node in ast.walk(tree):
        source = ast.unparse(node) if isinstance(node, (ast.Call, ast.Subscript)) else ""
        if source.startswith("json.dumps(") and "indent=" in source:
            found.add("indented JSON")
        if source.startswith(("csv.writer(", "csv.DictWriter(")):
            found.add("CSV")
        if source == "Callable[[str, str, float], None]":
            found.add("progress callback")
    return found


HOMES = {
    "CSV": ("lungseg3d.report.tables.csv_text", "report.csv_text"),
    "indented JSON": ("lungseg3d.core.json_form", "core.json_text"),
    "progress callback": ("lungseg3d.core.progress", "core.progress.OnProgress"),
}


@pytest.mark.parametrize("kind", HOMES)
def test_one_module_alone_spells_it_out(kind):
    home, instead = HOMES[kind]
    spelled = {module for module, tree in TREES.items() if kind in _spelled_in(tree)}
    assert home in spelled, f"{home} has no {kind} any more: see HOMES"
    elsewhere = {module for what, module in ELSEWHERE if what == kind}
    assert spelled - {home} == elsewhere, f"Take {instead}, or give a reason in ELSEWHERE."
