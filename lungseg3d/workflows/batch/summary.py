"""What a batch amounts to: `summary.csv`, `summary.json`, `index.html`.

In: the records of the journal. Out: three files, the same for the same records; times stand in the journal alone, so
two runs of the same batch write the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lungseg3d.core import json_text, to_json
from lungseg3d.io import CaseFolder, write_text
from lungseg3d.report import batch_csv, render_batch
from lungseg3d.workflows.batch_state.identity import Identity
from lungseg3d.workflows.batch_state.journal import Record

SCHEMA_VERSION = 2
"""2: `nodules` and `largest_mm` are of the listed nodules (in 1 of all findings); `candidates` counts the others."""
MEASURES = ("nodules", "largest_mm", "right_lung_ml", "left_lung_ml", "candidates")
_STATUSES = ("done", "no_lungs", "refused", "failed", "pending")


def write_summary(out: Path, records: Mapping[str, Record], identity: Identity) -> tuple[Path, list[Path]]:
    """Write the summary.

    Args:
        out: folder of the batch.
        records: of every case.
        identity: what the results of this run depend on.

    Returns:
        The page, and all three files.

    Raises:
        OutputError: E_WRITE, E_NO_SPACE.
    """
    content = batch_summary(records, identity)
    table, record, page = (out / name for name in ("summary.csv", "summary.json", "index.html"))
    write_text(table, batch_csv(content))
    write_text(record, json_text(content, indent=2, allow_nan=True))
    write_text(page, render_batch(content))
    return page, [table, record, page]


def batch_summary(records: Mapping[str, Record], identity: Identity) -> dict[str, Any]:
    """The content of `summary.json`: cases by name, each with status, measures, issues, inputs' and outputs' sums."""
    counts = Counter(record.status for record in records.values())
    cases = [_case(records[case_id]) for case_id in sorted(records)]
    return {
        "schema_version": SCHEMA_VERSION,
        "counts": {status: counts[status] for status in _STATUSES if counts[status] or status == "done"},
        "identity_sha256": identity.sha256,
        "identity": identity.facts,
        "cases": cases,
    }


def _case(record: Record) -> dict[str, Any]:
    names = {output.name for output in record.outputs}
    return {
        "case_id": record.case_id,
        "status": record.status,
        **{name: record.measures.get(name) for name in MEASURES},
        "issues": to_json(record.issues),
        "report": f"{record.case_id}/{CaseFolder.REPORT}" if CaseFolder.REPORT in names else "",
        "input_sha256": record.input_sha256,
        "identity_sha256": record.identity_sha256,
        "outputs": {output.name: output.sha256 for output in record.outputs},
    }
