"""The process that trains: started, stopped in order, and how to go on where it was stopped.

In: a task, the lock of its folder. Out: an exit code; after a stop, the line that goes on, on stderr.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lungseg3d.io import FolderLock
from lungseg3d.workflows.train.child_processes import TRAINING_COMMAND, give

_STOPPED = {128 + signal.SIGINT: "Ctrl-C", 128 + signal.SIGTERM: "SIGTERM"}


def run_training(task: bytes, environment: Mapping[str, str], lock: FolderLock) -> int:
    """Run a training and wait for it; Ctrl-C and SIGTERM end it in order.

    Args:
        task: as `training_task` makes it.
        environment: variables beside those of this process.
        lock: of its folder; the training holds it as long as it lives, also when this process is killed.

    Returns:
        Its exit code; 128 + the signal's number where a signal ended it.
    """
    from lungseg3d.engines.training.ending import LOCK_HANDLE

    handle = lock.fileno()
    child = subprocess.Popen(
        TRAINING_COMMAND,
        stdin=subprocess.PIPE,
        env={**os.environ, **environment, LOCK_HANDLE: str(handle)},
        pass_fds=(handle,) if os.name == "posix" else (),
        # A session of its own: Ctrl-C reaches this process alone, which hands it on once.
        start_new_session=True,
    )
    with _handing_on_to(child) as received:
        give(child, task)
        code = child.wait()
    if received and code != 0:
        return 128 + received[0]
    return 128 - code if code < 0 else code


@contextlib.contextmanager
def _handing_on_to(child: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """While it lasts, SIGTERM and Ctrl-C ask the child to end; yields the numbers of those that came."""
    received: list[int] = []
    before: dict[int, object] = {}

    def hand_on(number: int, frame: object) -> None:
        received.append(number)
        child.send_signal(signal.SIGTERM if len(received) < 3 else signal.SIGKILL)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def tell_how_to_go_on(code: int, line: Sequence[str], folder: Path) -> None:
    """Say on stderr by which line a training that was stopped goes on; nothing where it ended by itself.

    Args:
        code: exit code of the training.
        line: command line that goes on, as words.
        folder: of the training.
    """
    if code <= 128:
        return
    by = _STOPPED.get(code) or _name_of_signal(code - 128)
    if (folder / "last.pt").is_file():
        what = "It goes on after the last epoch that was finished, by this line"
    else:
        what = "No epoch was finished, so it starts anew, by this line"
    print(f"The training was stopped by {by}. {what}:\n  {shlex.join(line)}", file=sys.stderr, flush=True)


def _name_of_signal(number: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"{name}, often for want of memory" if name == "SIGKILL" else name
