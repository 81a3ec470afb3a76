"""Where a batch lies: a journal that was cut short, a file system without locks, an account without a name."""

from __future__ import annotations

import errno
import getpass
import io
import logging
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lungseg3d
from lungseg3d.cli import app
from lungseg3d.cli.terminal import console
from lungseg3d.core import LungSegError, OutputError
from lungseg3d.io import FolderLock, take_lock
from lungseg3d.io.storage import files
from lungseg3d.tracking.journal import Journal
from lungseg3d.workflows.batch.plan import Selection
from lungseg3d.workflows.batch.run import batch
from lungseg3d.workflows.batch_state.journal import BatchJournal
from lungseg3d.workflows.batch_state.records import BatchOptions
from lungseg3d.workflows.compare import run as compare_module
from tests.support.batch_stand_in import FILES, StandIn, contents, write_ct

REPOSITORY = Path(__file__).resolve().parents[3]


def run(source: Path, out: Path) -> dict[str, str]:
    done = batch(Selection(str(source)), out, BatchOptions(workers=1), None, StandIn())
    return {case_id: record.status for case_id, record in done.records.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path]:
    """One CT, and the batch that is done with it."""
    folder = tmp_path_factory.mktemp("finished")
    write_ct(folder / "in" / "a.nii.gz", 1)
    assert run(folder / "in", folder / "out") == {"a": "done"}
    return folder / "in", folder / "out"


@pytest.fixture
def done(finished, tmp_path) -> tuple[Path, Path]:
    """A copy of it to be damaged."""
    return finished[0], Path(shutil.copytree(finished[1], tmp_path / "out"))


def with_pages_of_zeros(whole: bytes) -> bytes:
    """What a disk may keep of a file whose blocks were never written."""
    return whole[:4096] + bytes(len(whole) - 4096)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut to half": lambda whole: whole[: len(whole) // 2],
    "cut by its last page": lambda whole: whole[:-4096],
    "cut within its first page": lambda whole: whole[:100],
    "empty": lambda whole: b"",
    "zeros": lambda whole: bytes(len(whole)),
    "zeros from the second page on": with_pages_of_zeros,
    "text": lambda whole: b"no journal at all\n" * 100,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_journal_is_said_to_be_damaged_by_every_way_into_it(how, done):
    source, out = done
    journal = out / "journal.db"
    journal.write_bytes(DAMAGE[how](journal.read_bytes()))
    damaged = journal.read_bytes()
    for words in (
        ["batch", str(source), "--out", str(out)],
        ["batch", str(source), "--out", str(out), "--list"],
        ["batch", "--verify", str(out)],
    ):
        shown = CliRunner().invoke(app, words)
        assert shown.exit_code == 3, shown.output
        assert shown.output.startswith("E_DAMAGED_JOURNAL: "), shown.output
        assert "space" not in shown.output
        assert "Move it away" in shown.output
    assert journal.read_bytes() == damaged, "whoever wants to save something of it can"


def test_the_way_out_of_a_damaged_journal_works_and_loses_nothing(done):
    source, out = done
    before = contents(out)
    (out / "journal.db").write_bytes(b"")
    with pytest.raises(LungSegError, match="E_DAMAGED_JOURNAL"):
        run(source, out)
    (out / "journal.db").rename(out / "journal.db.damaged")
    (out / "journal.db-journal").write_bytes(b"what a kill left, and SQLite would put into a new one")
    assert run(source, out) == {"a": "done"}
    now = contents(out)
    assert {name: data for name, data in now.items() if name.startswith("a/")} == {
        name: data for name, data in before.items() if name.startswith("a/")
    }
    assert sorted(path.name for path in (out / "set-aside" / "a").iterdir()) == FILES
    assert (out / "set-aside" / "journal.db-journal").is_file()
    assert run(source, out) == {"a": "done"}


def test_a_record_that_cannot_be_read_is_damage_too(done):
    source, out = done
    with sqlite3.connect(out / "journal.db") as database:
        database.execute("UPDATE cases SET outputs='[[1, '")
    with pytest.raises(LungSegError, match=r"E_DAMAGED_JOURNAL: .*a record cannot be read"):
        run(source, out)


def test_a_journal_that_another_program_holds_or_that_cannot_be_written_is_not_damaged(done):
    _, out = done
    journal = BatchJournal(out)
    for said, code in {
        "database is locked": "E_LOCKED",
        "database or disk is full": "E_NO_SPACE",
        "attempt to write a readonly database": "E_WRITE",
        "disk I/O error": "E_WRITE",
    }.items():
        with pytest.raises(OutputError, match=code), journal._in_words():
            raise sqlite3.OperationalError(said)
    journal.close()


@pytest.fixture(params=["ENOLCK", "ENOSYS", "EBADF", "EOPNOTSUPP"])
def without_locks(request, monkeypatch) -> None:
    """`flock` as file systems without locks answer it."""
    number = getattr(errno, request.param)

    def flock(handle, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, "flock", flock)


def test_a_batch_works_without_locks_and_says_so(without_locks, finished, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert run(finished[0], tmp_path / "out") == {"a": "done"}
    assert caplog.text.count("W_NO_LOCKS") == 1
    assert "no other batch" in caplog.text
    assert contents(tmp_path / "out") == contents(finished[1])


def test_a_comparison_without_locks_is_not_said_to_be_another(without_locks, tmp_path, caplog):
    with caplog.at_level(logging.WARNING), compare_module._hold(tmp_path) as descriptors:
        assert descriptors == ()
    assert "W_NO_LOCKS" in caplog.text


def test_without_locks_every_training_has_a_journal_of_its_own(without_locks, tmp_path):
    first = Journal.open_in(tmp_path)
    first.append("run", "start", name="run")
    second = Journal.open_in(tmp_path)
    assert (first.path.name, second.path.name) == ("tracking.jsonl", "tracking-2.jsonl")
    first.close()
    second.close()


def test_what_holds_a_lock_is_told_from_no_locks(tmp_path, monkeypatch):
    with open(tmp_path / "lock", "w") as one, open(tmp_path / "lock") as other:
        assert take_lock(one.fileno()) is True
        assert take_lock(other.fileno()) is False
        monkeypatch.setattr(files, "fcntl", None)
        assert take_lock(other.fileno()) is None
    lock = FolderLock(tmp_path / "other")
    assert not lock.is_held
    lock.release()


@pytest.fixture
def nameless(monkeypatch) -> None:
    """A user number that /etc/passwd does not have, and nothing in the environment that names it."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def getpwuid(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    monkeypatch.setattr(os, "getuid", lambda: 54321)


def test_a_user_number_without_a_name_gets_one_for_libraries_that_ask(nameless, monkeypatch):
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    lungseg3d._name_the_user()
    assert getpass.getuser() == "uid-54321"
    monkeypatch.delenv("LOGNAME")  # what it set


@pytest.mark.parametrize("home", ["", None])
def test_a_user_number_without_a_home_gets_one_too(home, nameless, monkeypatch):
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("HOME", "") if home is not None else monkeypatch.delenv("HOME")
    lungseg3d._name_the_user()
    assert (Path.home(), os.environ.get("LOGNAME")) == (Path("/"), None)
    monkeypatch.setenv("HOME", "/home/somebody")
    lungseg3d._name_the_user()
    assert Path.home() == Path("/home/somebody")


def test_a_name_that_is_there_stays(nameless, monkeypatch):
    monkeypatch.setenv("USER", "somebody")
    lungseg3d._name_the_user()
    assert "LOGNAME" not in os.environ
    assert getpass.getuser() == "somebody"


def test_an_account_with_an_entry_is_left_alone(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: ("root", "x", 0, 0, "", "/root", "/bin/sh"))
    lungseg3d._name_the_user()
    assert "LOGNAME" not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize("home", [[], ["HOME=/tmp"]], ids=["no home", "HOME=/tmp"])
def test_what_segments_and_trains_is_imported_by_a_real_number_without_a_name(home):
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    rights = "+dac_override,+dac_read_search"  # so that an installation in a private folder can be read
    words = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    words += [f"--inh-caps={rights}", f"--ambient-caps={rights}", "env", "-i", "PATH=/usr/bin:/bin", *home]
    words += [f"PYTHONPATH={REPOSITORY}", sys.executable, "-c"]
    modules = "lungseg3d.workflows.segment.models, lungseg3d.workflows.train.process, lungseg3d.engines, mlflow"
    done = subprocess.run([*words, f"import {modules}; print('all')"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "all", done.stderr[-2000:]


class Terminal(io.TextIOWrapper):
    """Standard output of an encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    @property
    def shown(self) -> bytes:
        """What was written."""
        self.flush()
        return self.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_text_in_any_script_is_shown_by_a_terminal_of_any_encoding(encoding, monkeypatch):
    terminal = Terminal(encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    name = "肺結節 Müller – \udcff"
    console.say(name)
    console.allow_any_text()
    print(name)
    expected = name.encode(encoding, "backslashreplace") + b"\n"
    assert terminal.shown == expected * 2


def test_names_in_any_script_are_listed_without_utf_8(tmp_path):
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(REPOSITORY)}
    write_ct(tmp_path / "患者" / "肺结节.nii.gz", 1)
    words = [sys.executable, "-c", "from lungseg3d.cli import main; main()", "batch", "患者", "--out", "出", "--list"]
    done = subprocess.run(words, capture_output=True, env=environment, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\\u80ba\\u7ed3\\u8282.nii.gz\n")
