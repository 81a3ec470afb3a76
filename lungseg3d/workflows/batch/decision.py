"""Which cases of a batch are to be done: by the journal, and by whether what it says is still so.

In: plan, journal, identity. Out: cases to do; those that are done and stay. A result of another input, model or option
stops the batch, unless it may be overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lungseg3d.core import OutputError
from lungseg3d.io import LINK_CODES, set_aside, sha256_of, signature_of
from lungseg3d.workflows.batch.plan import PlannedCase
from lungseg3d.workflows.batch_state.case import outputs_in
from lungseg3d.workflows.batch_state.identity import Identity, fact_differences
from lungseg3d.workflows.batch_state.journal import ASIDE, BatchJournal, Record

_COMPLETE = ("done", "no_lungs", "refused")


@dataclass(frozen=True)
class _Stale:
    """A result that was made otherwise, and how."""

    case_id: str
    how: str


def settle(journal: BatchJournal, out: Path) -> None:
    """Bring cases to their end that a kill caught between their record and their final name."""
    for case_id, record in journal.records().items():
        if record.status != "placing":
            continue
        if outputs_in(out / case_id) == record.outputs:
            journal.confirm(case_id)
        else:
            journal.withdraw(case_id)


def cases_to_do(
    cases: Sequence[PlannedCase], journal: BatchJournal, identity: Identity, out: Path, overwrite: bool
) -> list[PlannedCase]:
    """Those of the cases that have no valid result yet; the journal has a record of each afterwards.

    What failed is tried again; what was refused (but for links) or had no lungs stays so while its input is the same.
    Outputs that are not what the journal says (edited, cut short, of another program) are set aside, never replaced.

    Raises:
        OutputError: E_STALE_OUTPUT when there are results of another input, model or option and not `overwrite`.
    """
    records = journal.records()
    journal.add_cases({case.case_id: case.key for case in cases if case.case_id not in records})
    to_do, stale = [], []
    for case in cases:
        record = records.get(case.case_id)
        if record is not None and record.status in _COMPLETE and not _was_link(record):
            if how := _otherwise(case, record, journal, identity):
                stale.append(_Stale(case.case_id, how))
            elif outputs_in(out / case.case_id) == record.outputs:
                continue
        to_do.append(case)
    if stale and not overwrite:
        more = f" and {len(stale) - 1} more" if stale[1:] else ""
        raise OutputError(
            "E_STALE_OUTPUT",
            f"{stale[0].case_id}{more}: results are there, made otherwise: {stale[0].how}.",
            "Give another --out for a new run, or --overwrite to make these results again.",
        )
    for case in to_do:
        record = records.get(case.case_id)
        if record is not None and record.status in _COMPLETE:
            journal.reset(case.case_id)
        make_way(out / case.case_id, record, out / ASIDE)
    return to_do


def _was_link(record: Record) -> bool:
    """Whether a case was refused for its links: they may be followed now, or lead somewhere."""
    return record.status == "refused" and any(issue.code in LINK_CODES for issue in record.issues)


def make_way(folder: Path, record: Record | None, aside: Path) -> None:
    """Set aside what lies under a case's name and was not made by this batch, or is not as it was made."""
    ours = record.outputs if record is not None else ()
    if folder.exists() and (not folder.is_dir() or outputs_in(folder) != ours):
        if folder.is_dir() and not any(folder.iterdir()):
            return
        set_aside(folder, aside)


def _otherwise(case: PlannedCase, record: Record, journal: BatchJournal, identity: Identity) -> str:
    """How the input, model or options of a result differ from those of now; empty where they do not."""
    if record.identity_sha256 != identity.sha256:
        before = journal.identities().get(record.identity_sha256, {})
        return fact_differences(before, identity.facts) or "by another identity"
    path, rule = case.source.path, case.source.rule
    try:
        signature = signature_of(path, rule)
        if signature == record.input_signature:
            return ""
        if sha256_of(path, rule) != record.input_sha256:
            return "the input has changed since" if record.input_sha256 else ""
    except OSError:
        return "the input cannot be read any more" if record.input_sha256 else ""
    journal.set_signature(case.case_id, signature)
    return ""
