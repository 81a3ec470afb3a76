"""The process that trains ends in order when its parent is told to, and holds the folder as long as it lives."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from lungseg3d.core import OutputError
from lungseg3d.engines.training.ending import LOCK_HANDLE
from lungseg3d.io import FolderLock
from lungseg3d.workflows.train import child as module
from lungseg3d.workflows.train.child import run_training

WAITS = """
import os, pathlib, signal, sys, time
def end(*_):
    pathlib.Path("ended").write_text("in order")
    sys.exit(9)
signal.signal(signal.SIGTERM, end)
os.fstat(int(os.environ[{handle!r}]))
pathlib.Path("task").write_bytes(sys.stdin.buffer.read())
time.sleep(60)
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """`child(code)`: what runs instead of a training; the tests work in its folder."""
    monkeypatch.chdir(tmp_path)
    return lambda code: monkeypatch.setattr(module, "TRAINING_COMMAND", (sys.executable, "-c", code))


def when_it_runs(number: int) -> threading.Thread:
    """Signal this process once the child has its task."""

    def wait() -> None:
        while not Path("task").is_file() or not Path("task").read_bytes():
            if done.wait(0.02):
                return
        os.kill(os.getpid(), number)

    done = threading.Event()
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_child_in_order_and_is_the_exit_code(number, child, tmp_path):
    child(WAITS.format(handle=LOCK_HANDLE))
    before = signal.getsignal(number)
    lock = FolderLock(tmp_path / ".lock")
    when_it_runs(number)
    assert run_training(b"the task", {}, lock) == 128 + number
    lock.release()
    assert (Path("task").read_bytes(), Path("ended").read_text()) == (b"the task", "in order")
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("code", "exit_code"), [("raise SystemExit(5)", 5), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_a_child_that_ends_by_itself_or_is_killed_gives_its_code(code, exit_code, child, tmp_path):
    child(code)
    lock = FolderLock(tmp_path / ".lock")
    assert run_training(b"", {}, lock) == exit_code
    lock.release()


def test_a_child_whose_parent_is_gone_still_holds_the_folder(child, tmp_path):
    child("import os, time, pathlib; pathlib.Path('task').write_text(str(os.getpid())); time.sleep(60)")
    parent = os.fork()
    if parent == 0:
        try:
            run_training(b"", {}, FolderLock(tmp_path / ".lock"))
        finally:
            os._exit(0)
    while not Path("task").is_file() or not Path("task").read_bytes():
        pass
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    with pytest.raises(OutputError, match="E_LOCKED"):
        FolderLock(tmp_path / ".lock")
    os.kill(int(Path("task").read_text()), signal.SIGKILL)
