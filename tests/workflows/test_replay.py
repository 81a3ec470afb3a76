"""replay: what it says when there is nothing to send, nobody to send to, or somebody at work."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lungseg3d
from lungseg3d.cli.program import app
from lungseg3d.core import LungSegError
from lungseg3d.tracking.journal import Journal
from lungseg3d.workflows.replay import replay


@pytest.fixture
def left_over(tmp_path, monkeypatch):
    """A folder with a run that never reached a server."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    journal = Journal.open_in(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    journal.append("k", "start", experiment="spheres", name="a-run", tags={}, parent=None, uri=uri)
    journal.append("k", "metrics", step=1, values={"train/loss": 0.5})
    journal.append("k", "end", status="FINISHED")
    journal.close()
    return tmp_path


def test_a_folder_without_a_journal_is_refused(tmp_path):
    with pytest.raises(LungSegError, match="E_NO_JOURNAL"):
        replay(tmp_path)
    assert CliRunner().invoke(app, ["replay", str(tmp_path)]).exit_code == 3


def test_a_server_that_is_still_away_leaves_everything_as_it_was(left_over):
    before = (left_over / "tracking.jsonl").read_bytes()
    with pytest.raises(LungSegError, match="did not take 3 operations"):
        replay(left_over)
    assert (left_over / "tracking.jsonl").read_bytes() == before


def test_a_training_at_work_is_left_alone(left_over):
    living = Journal.open_in(left_over)
    with pytest.raises(LungSegError, match="E_STILL_TRAINING"):
        replay(left_over)
    living.close()


def test_the_program_says_what_it_sent_and_that_all_had_been_sent(left_over):
    to = ["replay", str(left_over), "--to", f"sqlite:///{left_over}/other.db"]
    first, second = (CliRunner().invoke(app, to) for _ in range(2))
    assert (first.exit_code, first.stdout) == (0, "Sent 3 operations of a-run.\n")
    assert (second.exit_code, second.stdout) == (0, "Everything had been sent.\n")


def test_sending_loads_no_torch_monai_or_ignite(left_over):
    program = f"""
import sys
from typer.testing import CliRunner
from lungseg3d.cli.program import app
result = CliRunner().invoke(app, ["replay", {str(left_over)!r}, "--to", "sqlite:///{left_over}/other.db"])
print(result.stdout.strip(), sorted({{"torch", "monai", "ignite"}} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(lungseg3d.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == "Sent 3 operations of a-run. []"


def test_a_line_that_a_kill_cut_short_costs_that_line_alone(left_over):
    path = left_over / "tracking.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:30], lines[2], '{"n":3,"run"']))
    journal = Journal(path)
    assert [operation["op"] for operation in journal.operations.values()] == ["start", "end"]
    assert journal.append("k", "end", status="KILLED")["n"] == 3
    journal.close()
    again = Journal(path)
    assert [operation["n"] for operation in again.operations.values()] == [0, 2, 3]
    again.close()
