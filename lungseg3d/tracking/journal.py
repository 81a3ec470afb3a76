"""The journal of tracked runs: every operation on disk before it is sent, and a note of what has arrived where.

In: operations as dictionaries. Out: one JSON line each in `<folder>/tracking.jsonl`; those that a store still lacks.
Knows no MLflow. A line that a kill cut short is left out when the journal is read, and nothing after it is lost.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lungseg3d.io import make_folder, open_to_append, take_lock

_NAME = "tracking{}.jsonl"
_MOST_PROCESSES = 64


class Journal:
    """One journal file, held by one process at a time.

    Lines are operations `{"n": 3, "run": KEY, "op": "metrics", "time_ms": ..., ...}` (`start` opens a run, `end` closes
    it), or notes `{"sent": 3, "store": S}`: operation 3 has arrived in the store S, or will never be taken by it
    (`"refused": reason`). The note of a `start` holds the `run_id` of that store.

    Args:
        path: the file, made when it is missing.

    Raises:
        OSError: it cannot be opened.
        BlockingIOError: another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_to_append(path)
        taken = take_lock(self._file.fileno())
        if taken is False:
            self._file.close()
            raise BlockingIOError(f"{path}: another process holds it")
        self.is_held = taken is True
        if hasattr(os, "register_at_fork"):  # a worker that outlives its parent must not hold the journal
            os.register_at_fork(after_in_child=self._file.close)
        self._lock = threading.Lock()
        self.operations: dict[int, dict[str, Any]] = {}
        self._notes: dict[str, dict[int, dict[str, Any]]] = {}
        self._torn = False
        self._read()

    @staticmethod
    def open_in(folder: Path) -> Journal:
        """The first journal of `folder` that no living process holds: `tracking.jsonl`, `tracking-2.jsonl`, ...

        Where the file system gives no locks, and nobody can tell who lives, the first one that is not there yet.
        """
        make_folder(folder)
        for number in range(1, _MOST_PROCESSES):
            path = folder / _NAME.format(f"-{number}" if number > 1 else "")
            was_there = path.exists() and path.stat().st_size > 0
            try:
                journal = Journal(path)
            except BlockingIOError:
                continue
            if journal.is_held or not was_there:
                return journal
            journal.close()
        raise BlockingIOError(f"{folder}: {_MOST_PROCESSES} processes hold a journal here")

    @staticmethod
    def files_in(folder: Path) -> list[Path]:
        """The journals of `folder`, oldest name first."""
        return sorted(folder.glob(_NAME.format("*")), key=lambda path: (len(path.name), path.name))

    def append(self, run: str, op: str, **fields: Any) -> dict[str, Any]:
        """Write an operation of the run `run` and return it, with its number `n` and its time.

        Raises:
            OSError: it could not be written; it is kept in memory all the same.
        """
        with self._lock:
            n = max(self.operations, default=-1) + 1
            operation = {"n": n, "run": run, "op": op, "time_ms": int(time.time() * 1000)} | fields
            self.operations[n] = operation
            self._write(operation)
        return operation

    def note_sent(self, n: int, store: str, **fields: Any) -> None:
        """Note that operation `n` needs no more sending to `store`."""
        note = {"sent": n, "store": store} | fields
        with self._lock:
            self._notes.setdefault(store, {})[n] = note
            self._write(note)

    def unsent(self, store: str, after: int = -1) -> list[dict[str, Any]]:
        """Operations with a number above `after` that `store` lacks, in order."""
        with self._lock:
            known = self._notes.get(store, {})
            return [operation for n, operation in self.operations.items() if n > after and n not in known]

    def run_id(self, run: str, store: str) -> str | None:
        """The id that `store` gave to `run`; None before its `start` has arrived there."""
        with self._lock:
            notes = self._notes.get(store, {})
            starts = [operation["n"] for operation in self._of(run) if operation["op"] == "start"]
            return next((notes[n]["run_id"] for n in starts if notes.get(n, {}).get("run_id")), None)

    def runs(self) -> dict[str, list[dict[str, Any]]]:
        """The operations of each run, by its key, in order of start."""
        with self._lock:
            keys = dict.fromkeys(operation["run"] for operation in self.operations.values())
            return {key: list(self._of(key)) for key in keys}

    def uri(self, run: str) -> str | None:
        """Where `run` was to go, without a password; None for the SQLite file beside the journal."""
        return self._start_of(run).get("uri")

    def name(self, run: str) -> str:
        """The name that people read."""
        return str(self._start_of(run).get("name", run))

    def close_killed_runs(self) -> list[str]:
        """Append an `end` as KILLED, at the time of the last sign of life, to every run without one; their keys.

        To be called before this process starts a run of its own: who holds the journal knows that nobody else lives.
        """
        found = []
        for key, operations in self.runs().items():
            if all(operation["op"] != "end" for operation in operations):
                last = operations[-1]["time_ms"]
                is_shared = operations[0].get("shared")  # several write to it: it has no end of its own
                self.append(key, "end", status=None if is_shared else "KILLED", time_ms=last)
                found.append(key)
        return found

    def close(self) -> None:
        """Let another process have the journal."""
        self._file.close()

    def _start_of(self, run: str) -> Mapping[str, Any]:
        with self._lock:
            return next((operation for operation in self._of(run) if operation["op"] == "start"), {})

    def _of(self, run: str) -> Iterator[dict[str, Any]]:
        return (operation for operation in self.operations.values() if operation["run"] == run)

    def _write(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"
        if self._torn:
            text, self._torn = "\n" + text, False
        data = text.encode()
        try:
            whole = self._file.write(data) == len(data)
        except OSError:
            self._torn = True
            raise
        self._torn = not whole

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        self._torn = bool(content) and not content.endswith(b"\n")
        for line in content.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # cut short by a kill
                continue
            if not isinstance(entry, dict):
                continue
            if "sent" in entry and "store" in entry:
                self._notes.setdefault(entry["store"], {})[entry["sent"]] = entry
            elif isinstance(entry.get("n"), int) and "run" in entry and "op" in entry:
                self.operations[entry["n"]] = entry
