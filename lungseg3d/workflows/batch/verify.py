"""`batch --verify`: every output of a batch held against the SHA-256 that its journal has.

In: the folder of a batch. Out: what is not as it was written. Changes nothing, and needs no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungseg3d.core.progress import OnProgress
from lungseg3d.io import sha256_of
from lungseg3d.workflows.batch_state.journal import ENDED, BatchJournal, Record


@dataclass(frozen=True)
class Verified:
    """What a check found.

    Attributes:
        whole: cases whose outputs are all as they were written.
        pending: cases without a result as yet.
        problems: case id -> what is wrong with its files, one text each.
        strangers: names in the folder that the journal does not know.
    """

    whole: tuple[str, ...]
    pending: tuple[str, ...]
    problems: dict[str, tuple[str, ...]]
    strangers: tuple[str, ...]


def verify_batch(out: Path | str, on_progress: OnProgress | None = None) -> Verified:
    """Check every output of the batch in `out`.

    Raises:
        LungSegError: E_NO_JOURNAL.
        OutputError: E_WRITE when the journal cannot be read.
    """
    out = Path(out)
    journal = BatchJournal(out, read_only=True)
    try:
        records = journal.records()
    finally:
        journal.close()
    problems: dict[str, tuple[str, ...]] = {}
    ended = [record for record in records.values() if record.status in ENDED]
    for number, record in enumerate(ended):
        if on_progress is not None:
            on_progress("", "verify", number / len(ended))
        if found := tuple(_problems(out / record.case_id, record)):
            problems[record.case_id] = found
    strangers = [path.name for path in sorted(out.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return Verified(
        tuple(record.case_id for record in ended if record.case_id not in problems),
        tuple(record.case_id for record in records.values() if record.status not in ENDED),
        problems,
        tuple(name for name in strangers if name not in records and name not in ("set-aside", "mlruns", "tracking")),
    )


def _problems(folder: Path, record: Record) -> list[str]:
    found = []
    for output in record.outputs:
        path = folder / output.name
        try:
            size = path.stat().st_size
            if size != output.size_bytes:
                found.append(f"{output.name}: {size} bytes, {output.size_bytes} were written")
            elif sha256_of(path) != output.sha256:
                found.append(f"{output.name}: other content than was written")
        except FileNotFoundError:
            found.append(f"{output.name}: missing")
        except OSError as error:
            found.append(f"{output.name}: {error.strerror}")
    known = {output.name for output in record.outputs}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found + [f"{name}: not of this batch" for name in sorted(there - known)]
