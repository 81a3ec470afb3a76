"""A background thread that brings a journal to an MLflow store, and gives up gracefully when there is none.

In: a `Journal`, the URI of a store. Out: operations sent in order, each noted in the journal. Raises nothing into
training. Knows no engine.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lungseg3d.tracking.journal import Journal
from lungseg3d.tracking.store import Refused, Store, store_key, what_failed, without_password

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 300.0
_FILES = ("artifact", "picture")
"""Operations that may fail alone, as the files of a store can be somewhere else than its numbers."""


class Sender:
    """Sends what a journal holds, in order; waits longer and longer while the store does not answer.

    Args:
        journal: operations may be appended to it at any time, followed by `wake`.
        tracking_uri: of the store.
        folder: where relative paths of the journal begin.
        wanted: whether the run with this key goes to this store.
    """

    def __init__(self, journal: Journal, tracking_uri: str, folder: Path, wanted: Callable[[str], bool]) -> None:
        self.journal, self.tracking_uri, self.folder, self.wanted = journal, tracking_uri, folder, wanted
        self.store_key = store_key(tracking_uri)
        self.sent = self.refused = 0
        self.failure: str | None = None
        """Why the store cannot be reached now; None while it can."""
        self.file_failure: str | None = None
        """Why files were left for later, though the store can be reached."""
        self._store: Store | None = None
        self._woken, self._closing = threading.Event(), threading.Event()
        self._warned: set[str] = set()
        self._deferred: set[int] = set()
        self._thread = threading.Thread(target=self._work, name="lungseg3d-tracking", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new."""
        self._woken.set()

    def close(self, longest_s: float) -> int:
        """Send what is left, for `longest_s` seconds at most, and at most one more try of a store that is away.

        Returns:
            How many operations are left unsent.
        """
        self._closing.set()
        self._woken.set()
        self._thread.join(longest_s)
        return len(self.unsent())

    def send_all(self) -> None:
        """Send in this thread what the store lacks, until it is done or the store fails: see `failure`."""
        for operation in self.unsent():
            if operation["n"] not in self._deferred and not self._sent(operation):
                return

    def unsent(self) -> list[dict[str, Any]]:
        """What the store still lacks, in order."""
        return [operation for operation in self.journal.unsent(self.store_key) if self.wanted(operation["run"])]

    def _work(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            self._woken.clear()
            closing = self._closing.is_set()
            self.send_all()
            if closing or (self.failure and self._closing.is_set()):
                return
            if self.failure is None:
                wait_s = FIRST_WAIT_S
                self._woken.wait()
            else:
                # New operations do not hurry a store that is away; the end of training does.
                self._closing.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _sent(self, operation: dict[str, Any]) -> bool:
        """Send one operation; False when the store cannot be reached."""
        try:
            if self._store is None:
                self._store = Store(self.tracking_uri, self.folder)
            run_id = self.journal.run_id(operation["run"], self.store_key)
            new_id = self._store.apply(operation, run_id)
            self._note(operation, **({"run_id": new_id} if new_id else {}))
        except Refused as refusal:
            self._warn("W_TRACKING_REFUSED", f"{operation['op']} {_name(operation)} is not tracked: {refusal}")
            self._note(operation, refused=str(refusal))
            self.refused += 1
            return True
        except Exception as error:
            said = what_failed(error)
            if operation["op"] in _FILES and self._answers():
                self._deferred.add(operation["n"])
                self.file_failure = said
                self._warn("W_TRACKING_FILES", f"the store takes no files now: {said}. {self._later()}")
                return True
            self.failure = said
            where = without_password(self.tracking_uri)
            self._warn("W_TRACKING_OFFLINE", f"{where} does not take the run: {said}. {self._later()}")
            return False
        self.sent += 1
        self.failure = None
        return True

    def _note(self, operation: dict[str, Any], **fields: Any) -> None:
        with suppress(OSError, ValueError):  # not written down (or closed by now), it is sent once more: harmless
            self.journal.note_sent(operation["n"], self.store_key, **fields)

    def _answers(self) -> bool:
        """Whether the store itself is there."""
        try:
            assert self._store is not None
            self._store.client.search_experiments(max_results=1)
        except Exception:
            return False
        return True

    def _later(self) -> str:
        return f"The work goes on; all is kept in {self.journal.path.name}. Afterwards: lungseg3d replay {self.folder}"

    def _warn(self, code: str, text: str) -> None:
        """Once for each code."""
        if code not in self._warned and self._thread.ident is not None:
            logger.warning(f"{code}: {text}")
        self._warned.add(code)


def _name(operation: dict[str, Any]) -> str:
    return str(operation.get("name") or operation.get("path") or "")
