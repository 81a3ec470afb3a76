"""One store, several first users at once; where a SQLite file lies; artifacts whatever the clock says."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lungseg3d.engines.tracking.handler import RunTracking
from lungseg3d.tracking.store import sqlite_path

RUNS = 3
ONE_RUN = """
import sys
from pathlib import Path
from lungseg3d.tracking.store import Store
store = Store(sys.argv[1], Path(sys.argv[2]))
run = store.parent_run("experiment", sys.argv[3])
store.client.log_metric(run, "dice", 0.5)
"""


@pytest.mark.slow
@pytest.mark.parametrize("names", [("a", "b", "c"), ("same", "same", "same")])
def test_first_runs_at_once_in_one_new_store_are_all_kept(tmp_path, names):
    uri = f"sqlite:///{tmp_path / 'new.db'}"
    jobs = [
        subprocess.Popen([sys.executable, "-c", ONE_RUN, uri, str(tmp_path), name], stderr=subprocess.PIPE, text=True)
        for name in names
    ]
    said = [job.communicate(timeout=600)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * RUNS, said
    with sqlite3.connect(tmp_path / "new.db") as database:
        (count,) = database.execute("select count(distinct run_uuid) from metrics").fetchone()
    assert count == len(set(names))


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////runs/a/mlruns.db", "/runs/a/mlruns.db"),
        ("sqlite+pysqlite:////a%20b/m.db?timeout=5", "/a b/m.db"),
        ("sqlite:///m.db", str(Path.cwd() / "m.db")),
        ("sqlite:///:memory:", None),
        ("http://host:5000", None),
        ("file:///runs", None),
    ],
)
def test_the_file_of_a_sqlite_store(uri, path):
    assert sqlite_path(uri) == (None if path is None else Path(path))


@pytest.mark.parametrize("skew_s", [-3600, 0, 3600])
def test_what_a_run_wrote_is_sent_whatever_the_file_servers_clock_says(tmp_path, skew_s):
    import time

    old, new = tmp_path / "best.pt", tmp_path / "model.pt"
    old.write_bytes(b"old")
    tracking = RunTracking(tmp_path, "experiment", "run", artifacts={"model": [old, new]})
    tracking._note_artifacts()
    new.write_bytes(b"new")
    os.utime(new, (time.time() + skew_s,) * 2)
    sent: list[Path] = []
    tracking._log_artifacts(SimpleNamespace(log_file=lambda op, path, under: sent.append(path)))
    assert sent == [new]
