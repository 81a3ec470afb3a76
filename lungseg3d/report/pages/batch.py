"""The summary of a batch: one page that links every report, and one table for programs.

In: the content of `summary.json`. Out: HTML text and CSV text, the same for the same input. Writes no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lungseg3d.core import SERIOUS_CODES
from lungseg3d.report.pages.case import environment
from lungseg3d.report.pages.facts import list_facts
from lungseg3d.report.plots.numbers import number_text
from lungseg3d.report.tables.csv_text import csv_text

_COLUMNS = ("case_id", "status", "nodules", "largest_mm", "right_lung_ml", "left_lung_ml")


def render_batch(content: Mapping[str, Any]) -> str:
    """The page: what needs a person first, then every case that is done.

    Args:
        content: `counts` (status -> cases), `identity` (facts), `cases` (see `batch_csv`).
    """
    order = {"failed": 0, "refused": 1, "no_lungs": 2, "pending": 3}
    bad = sorted((case for case in content["cases"] if case["status"] in order), key=lambda c: order[c["status"]])
    done = [case for case in content["cases"] if case["status"] not in order]
    bundles = content["identity"]["bundles"]
    program = {"version": content["identity"]["version"], **content["identity"]["options"]}
    facts = [
        ("Program and options", list_facts(program)),
        *((role.replace("_", " ").capitalize(), list_facts(files)) for role, files in bundles.items()),
    ]
    page = environment().get_template("batch.html.j2")
    return page.render(content=content, bad=bad, done=done, facts=facts, number=number_text, serious=SERIOUS_CODES)


def batch_csv(content: Mapping[str, Any]) -> str:
    """A row for each case: id, status, measures, codes of its issues, the reason against it, its report, candidates.

    What is unknown is an empty cell.
    """
    rows = []
    for case in content["cases"]:
        codes = " ".join(dict.fromkeys(issue["code"] for issue in case["issues"]))
        is_reason = "W_NO_LUNG" if case["status"] == "no_lungs" else "E_"
        reason = next((issue["message"] for issue in case["issues"] if issue["code"].startswith(is_reason)), "")
        cells = {name: case[name] for name in (*_COLUMNS, "report", "candidates")}
        rows.append({**cells, "issues": codes, "reason": reason})
    # `candidates` behind the others, so that programs that count columns go on as they were.
    return csv_text(rows, (*_COLUMNS, "issues", "reason", "report", "candidates"))
