"""The journal of a batch: one SQLite file with a record for every case, by which a run goes on and skips.

In: what happened to a case. Out: the record, on the disk when the call returns. Files are never asked what is done.
Held by one process, see `io.FolderLock`; anyone may read it meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungseg3d.core import LungSegError, OutputError, QualityIssue
from lungseg3d.io import placing, set_aside
from lungseg3d.workflows.batch_state.case import Outcome, Output
from lungseg3d.workflows.batch_state.identity import Identity

NAME = "journal.db"
ASIDE = "set-aside"
"""Folder for what lies in the way and cannot be made again."""
ENDED = ("done", "no_lungs", "refused", "failed")
_VERSION = 1
_BUSY_S = 10.0
_DAMAGE = re.compile("malformed|not a database|no such (table|column)|btreeInitPage|disk image|unsupported file format")
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE identities (sha256 TEXT PRIMARY KEY, facts TEXT NOT NULL);
CREATE TABLE cases (
    case_id TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL DEFAULT 'pending',  -- pending, placing, done, no_lungs, refused, failed
    input_sha256 TEXT NOT NULL DEFAULT '',
    input_signature TEXT NOT NULL DEFAULT '',
    identity_sha256 TEXT NOT NULL DEFAULT '',
    weights_sha256 TEXT NOT NULL DEFAULT '{}',
    code_version TEXT NOT NULL DEFAULT '',
    outputs TEXT NOT NULL DEFAULT '[]',
    former_outputs TEXT NOT NULL DEFAULT '[]',
    issues TEXT NOT NULL DEFAULT '[]',
    measures TEXT NOT NULL DEFAULT '{}',
    timings_s TEXT NOT NULL DEFAULT '{}',
    peak_memory_mib REAL,
    outcome TEXT NOT NULL DEFAULT '',        -- status that the case gets once its files are placed
    ended_at REAL
);
"""


@dataclass(frozen=True)
class Record:
    """What the journal says about a case; `outcome` as of its last end.

    Attributes:
        status: `pending`, `placing` (its files are being moved to their final name), `done`, `no_lungs`, `refused`
            or `failed`.
        key: of its input in the plan.
        input_signature: sizes and times of its files, by which an unchanged input is known without reading it.
        identity_sha256: of weights, configuration, options and program.
    """

    case_id: str
    key: str
    status: str
    input_sha256: str
    input_signature: str
    identity_sha256: str
    outputs: tuple[Output, ...]
    former_outputs: tuple[Output, ...]
    issues: tuple[QualityIssue, ...]
    measures: Mapping[str, Any]
    timings_s: Mapping[str, float]
    peak_memory_mib: float | None
    outcome: str


class BatchJournal:
    """The journal of one output folder.

    Args:
        folder: that holds it; it is made when it is missing.
        read_only: for looking only; then it must be there.
        locks: False on a file system without locks, where SQLite would wait for one in vain.

    Raises:
        LungSegError: E_NO_JOURNAL when there is none to look at, or it is not one of ours; E_DAMAGED_JOURNAL.
        OutputError: E_WRITE, E_NO_SPACE.
    """

    def __init__(self, folder: Path, read_only: bool = False, locks: bool = True) -> None:
        self.path = folder / NAME
        if read_only and not self.path.is_file():
            raise LungSegError("E_NO_JOURNAL", f"{folder.name} has no {NAME}.", "Give the --out of a batch.")
        # Also for looking: what a kill cut short in the middle of a record is rolled back first.
        mode = "rw" if os.access(folder, os.W_OK) else "ro"
        uri = f"{self.path.absolute().as_uri()}?mode={mode}{'' if locks else '&nolock=1'}"
        with self._in_words():
            if not read_only and not self.path.exists():
                _make(self.path)
            self._database = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
            if not read_only:
                self._database.execute("PRAGMA synchronous=EXTRA")
            if self._database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise self._damaged("its pages do not fit together")
            if self._database.execute("SELECT value FROM facts WHERE name='version'").fetchone() != (str(_VERSION),):
                raise LungSegError("E_NO_JOURNAL", f"{self.path} is of another version.", "Give another folder.")

    def close(self) -> None:
        """Let go of the file; everything is on the disk already."""
        self._database.close()

    def records(self) -> dict[str, Record]:
        """Every case by its id, in the order in which they came."""
        columns = ", ".join(_COLUMNS)
        with self._in_words():
            rows = self._database.execute(f"SELECT {columns} FROM cases ORDER BY rowid").fetchall()
        try:
            return {row[0]: _record(row) for row in rows}
        except (ValueError, TypeError) as error:
            raise self._damaged(f"a record cannot be read, {type(error).__name__}") from error

    def identities(self) -> dict[str, Mapping[str, Any]]:
        """The facts of every identity that was worked with, by their sum."""
        with self._in_words():
            rows = self._database.execute("SELECT sha256, facts FROM identities").fetchall()
        return {sha256: json.loads(facts) for sha256, facts in rows}

    def add_identity(self, identity: Identity) -> None:
        """Note what results will depend on from now on."""
        with self._transaction() as database:
            values = (identity.sha256, json.dumps(identity.facts))
            database.execute("INSERT OR IGNORE INTO identities VALUES (?, ?)", values)

    def add_cases(self, keys: Mapping[str, str]) -> None:
        """Note cases that are to be done: case id -> key."""
        with self._transaction() as database:
            database.executemany("INSERT INTO cases (case_id, key) VALUES (?, ?)", list(keys.items()))

    def reset(self, case_id: str) -> None:
        """The case is to be done again; its outputs of last time are still known as ours."""
        with self._transaction() as database:
            database.execute("UPDATE cases SET status='pending' WHERE case_id=?", (case_id,))

    def withdraw(self, case_id: str) -> None:
        """An announced case whose files did not get their final name is to be done again."""
        with self._transaction() as database:
            database.execute("UPDATE cases SET status='pending', outputs=former_outputs WHERE case_id=?", (case_id,))

    def set_signature(self, case_id: str, signature: str) -> None:
        """The input was looked at again and is the same, though its times differ."""
        with self._transaction() as database:
            database.execute("UPDATE cases SET input_signature=? WHERE case_id=?", (signature, case_id))

    def announce(self, outcome: Outcome, identity: Identity) -> None:
        """The case has come to its end, and its files are about to get their final name."""
        values = {
            "status": "placing",
            "outcome": outcome.status,
            "input_sha256": outcome.input_sha256,
            "input_signature": outcome.input_signature,
            "identity_sha256": identity.sha256,
            "weights_sha256": json.dumps(identity.weights),
            "code_version": identity.facts["version"],
            "outputs": json.dumps([[o.name, o.sha256, o.size_bytes] for o in outcome.outputs]),
            "issues": json.dumps([[i.code, i.message, i.remedy] for i in outcome.issues]),
            "measures": json.dumps(outcome.measures),
            "timings_s": json.dumps(outcome.timings_s),
            "peak_memory_mib": outcome.peak_memory_mib,
            "ended_at": time.time(),
        }
        assignments = ", ".join(f"{name}=:{name}" for name in values)
        with self._transaction() as database:
            database.execute(
                f"UPDATE cases SET former_outputs=outputs, {assignments} WHERE case_id=:case_id",
                values | {"case_id": outcome.case_id},
            )

    def confirm(self, case_id: str) -> None:
        """The files of an announced case lie under their final name: it is done (or without lungs, refused, failed)."""
        with self._transaction() as database:
            database.execute("UPDATE cases SET status=outcome WHERE case_id=? AND status='placing'", (case_id,))

    def _damaged(self, what: str) -> LungSegError:
        return LungSegError(
            "E_DAMAGED_JOURNAL",
            f"{self.path}: the journal is damaged ({what}); the results beside it are as they were.",
            f"Move it away (to {NAME}.damaged, say) and run the batch again: every case is done anew, and the results "
            f"that are there now go to {ASIDE}.",
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._in_words():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if _DAMAGE.search(str(error)):
                raise self._damaged(str(error)) from error
            if "locked" in str(error):
                text, remedy = f"{self.path}: another program holds it ({error}).", "End that one, or wait for it."
                raise OutputError("E_LOCKED", text, remedy) from error
            code = "E_NO_SPACE" if "full" in str(error) else "E_WRITE"
            remedy = "See that the disk has space and the folder may be written; then run the same command again."
            raise OutputError(code, f"{self.path}: {error}.", remedy) from error


def _make(path: Path) -> None:
    """An empty journal that appears whole: a kill meanwhile leaves none, and who looks sees no half of one."""
    for ending in ("-journal", "-wal", "-shm"):  # of one that was moved away: SQLite would put it into the new one
        left = path.with_name(path.name + ending)
        if left.exists():
            set_aside(left, path.parent / ASIDE)
    with placing(path) as temporary, closing(sqlite3.connect(temporary)) as database, database:
        database.executescript(_SCHEMA)
        database.execute("INSERT INTO facts VALUES ('version', ?)", (str(_VERSION),))


_COLUMNS = (
    *("case_id", "key", "status", "input_sha256", "input_signature", "identity_sha256", "outputs"),
    *("former_outputs", "issues", "measures", "timings_s", "peak_memory_mib", "outcome"),
)


def _record(row: tuple[Any, ...]) -> Record:
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in ("outputs", "former_outputs"):
        values[name] = tuple(Output(*output) for output in json.loads(values[name]))
    values["issues"] = tuple(QualityIssue(*issue) for issue in json.loads(values["issues"]))
    values["measures"], values["timings_s"] = json.loads(values["measures"]), json.loads(values["timings_s"])
    return Record(**values)
