"""`batch --list`: which case id is which input, for the terminal alone.

In: a source and the folder of results. Out: pairs of names. Writes nothing: paths may name patients.
"""

from __future__ import annotations

from pathlib import Path

from lungseg3d.workflows.batch.plan import Selection, plan_batch
from lungseg3d.workflows.batch_state.journal import NAME, BatchJournal


def list_inputs(selection: Selection, out: Path) -> list[tuple[str, str]]:
    """Case id and input of every case, in the order of the source; ids as the journal in `out` has them.

    Raises:
        LungSegError: as `plan_batch`.
    """
    known = {}
    if (out / NAME).is_file():
        journal = BatchJournal(out, read_only=True)
        known = {record.key: case_id for case_id, record in journal.records().items()}
        journal.close()
    root = Path(selection.source)
    rows = []
    for case in plan_batch(selection, leave_out=out).name_cases(known).cases:
        source = case.source
        path = source.path.relative_to(root) if source.path.is_relative_to(root) else source.path
        rows.append((case.case_id, " ".join(part for part in (str(path), source.study, source.series) if part)))
    return rows
