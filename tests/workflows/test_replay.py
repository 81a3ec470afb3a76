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
from lungseg3d.tracking.store import Store
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


# Written by version 0.1 for a server that was away; the second process of the folder was killed within a line.
EARLIER_JOURNAL = """\
{"n":0,"run":"c6ff","op":"start","time_ms":1796101927462,"experiment":"spheres","name":"old-b65e662a",\
"tags":{"seed":"3","mlflow.source.name":"spheres","mlflow.source.type":"JOB"},"parent":"a-parent",\
"uri":"http://127.0.0.1:9/"}
{"n":1,"run":"c6ff","op":"params","time_ms":1796101927462,"values":{"epochs":"2"}}
{"n":2,"run":"c6ff","op":"metrics","time_ms":1796101927462,"step":1,"values":{"train/loss":0.5}}
{"n":3,"run":"c6ff","op":"artifact","time_ms":1796101927481,"path":"tracking/old-b65e662a/split.json",\
"sha256":"ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356","under":""}
{"n":4,"run":"c6ff","op":"end","time_ms":1796101927481,"status":"FINISHED","tags":{"k":"v"}}
{"n":5,"ru"""


def test_a_journal_of_an_earlier_version_arrives_whole(tmp_path):
    (tmp_path / "tracking.jsonl").write_text(EARLIER_JOURNAL)
    split = tmp_path / "tracking" / "old-b65e662a" / "split.json"
    split.parent.mkdir(parents=True)
    split.write_text("{}\n")
    uri = f"sqlite:///{tmp_path}/store.db"
    replay(tmp_path, uri)
    client = Store(uri, tmp_path).client
    experiment = client.get_experiment_by_name("spheres")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    run, parent = runs.pop("old-b65e662a"), runs.pop("a-parent")
    assert not runs
    assert (run.info.start_time, run.info.end_time, run.info.status) == (1796101927462, 1796101927481, "FINISHED")
    assert (run.data.params, run.data.metrics) == ({"epochs": "2"}, {"train/loss": 0.5})
    assert (run.data.tags["seed"], run.data.tags["k"]) == ("3", "v")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["split.json"]


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
