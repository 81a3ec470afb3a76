"""One training a folder, however it is started; what is refused ends with a code and no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lungseg3d.core import OutputError
from lungseg3d.engines.training.ending import LOCK_HANDLE
from lungseg3d.io import FolderLock

BEGIN = "from lungseg3d.engines import begin_training; begin_training({folder!r}); {then}"
WRAPPED = """
from lungseg3d.core import BundleError, TrainingError
try:
    raise {error}
except Exception as error:
    raise RuntimeError("Failed to instantiate component") from error
"""


def begin(folder: Path, then: str = "pass", **more) -> subprocess.Popen:
    code = (
        BEGIN.format(folder=str(folder), then=then) if "\n" not in then else BEGIN.format(folder=str(folder), then="")
    )
    code += "" if "\n" not in then else then
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], **pipes, **more)


def test_a_second_training_in_a_folder_is_refused_and_a_killed_one_holds_it_no_more(tmp_path):
    first = begin(tmp_path, "print('in', flush=True); input()", stdin=subprocess.PIPE)
    assert first.stdout.readline() == "in\n"
    with pytest.raises(OutputError, match=f"E_LOCKED: .*process {first.pid}"):
        FolderLock(tmp_path / ".lock")
    second = begin(tmp_path)
    _, said = second.communicate(timeout=120)
    assert second.returncode == 3
    assert said.startswith("E_LOCKED: ")
    assert "Traceback" not in said
    first.send_signal(signal.SIGKILL)
    first.communicate()
    FolderLock(tmp_path / ".lock").release()


@pytest.mark.parametrize(
    ("error", "code"),
    [("BundleError('E_X', 'found', 'mend it')", 3), ("TrainingError('E_X', 'found', 'mend it')", 5)],
)
def test_an_error_with_a_code_is_shown_without_its_wrappers(tmp_path, error, code):
    ended = begin(tmp_path, WRAPPED.format(error=error))
    _, said = ended.communicate(timeout=120)
    assert (ended.returncode, said) == (code, "E_X: found\nmend it\n")


def test_any_other_error_keeps_its_traceback(tmp_path):
    ended = begin(tmp_path, WRAPPED.format(error="KeyError('a')"))
    _, said = ended.communicate(timeout=120)
    assert ended.returncode == 1
    assert "Traceback" in said


def test_a_lock_that_the_parent_hands_down_is_enough_and_another_folders_is_not(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    lock, other = FolderLock(tmp_path / "a" / ".lock"), FolderLock(tmp_path / "b" / ".lock")
    for folder, code in (("a", 0), ("b", 3)):
        environment = {**os.environ, LOCK_HANDLE: str(lock.fileno())}
        ended = begin(tmp_path / folder, env=environment, pass_fds=(lock.fileno(),))
        ended.communicate(timeout=120)
        assert ended.returncode == code
    lock.release()
    other.release()
