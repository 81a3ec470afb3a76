"""Tracking of a comparison: what arrives in a store at once is what `replay` brings to it later."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lungseg3d.tracking.run import TrackedRun
from lungseg3d.tracking.store import Store
from lungseg3d.workflows.compare.plan import parent_name
from lungseg3d.workflows.compare.tables import METRICS
from lungseg3d.workflows.compare.tracking import open_parent, track_comparison
from lungseg3d.workflows.replay import replay

MEMBERS = {"a-seed-0": "a-seed-0-11111111", "b-seed-0": "b-seed-0-22222222"}


def record_of(name: str, dice: float) -> dict[str, Any]:
    values = dict.fromkeys(METRICS) | {"dice": dice}
    cases = [{"structures": {"lung nodule": values}}, {"structures": {"lung nodule": values | {"dice": dice / 2}}}]
    return {"network": name[0], "fold": None, "seed": 0, "status": "done", "folder": MEMBERS[name], "cases": cases}


def track_everything(out: Path, uri: str) -> None:
    """A comparison of two members, whose trainings are tracked on their own, from beginning to end and once more."""
    plan: Any = SimpleNamespace(out=out, experiment="boxes")
    open_parent(plan)
    for name, folder in MEMBERS.items():
        run = TrackedRun(out / "members" / folder, uri, f"{name}-0123abcd")
        run.start("boxes", {"seed": "0"}, parent_name(out))
        run.end("FINISHED")
        run.close(0.2 if uri.startswith("http") else None)
    page = out / "compare.html"
    page.write_text("<p>0.5</p>\n")
    means = {key: {"mean": None} for key in METRICS} | {"dice": {"mean": 0.5}}
    comparison = {"networks": [{"network": name[0], "structure": "lung nodule", **means} for name in MEMBERS]}
    records = [record_of("a-seed-0", 0.8), record_of("b-seed-0", 0.4)]
    for _ in range(2):
        track_comparison(plan, [*records, {"status": "failed", "network": "c"}], comparison, [page])


def content_of(out: Path, uri: str) -> dict[str, Any]:
    """Everything that a reader of the store sees, run by run; times and ids aside."""
    client = Store(uri, out).client
    experiment = client.get_experiment_by_name("boxes")
    runs = client.search_runs([experiment.experiment_id])
    names = {run.info.run_id: run.info.run_name for run in runs}
    found = {}
    for run in runs:
        left_out = ("lungseg3d.run_key", "mlflow.source.git.commit")
        tags = {key: names.get(value, value) for key, value in run.data.tags.items() if key not in left_out}
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
        found[run.info.run_name] = (run.info.status, run.data.params, run.data.metrics, tags, files)
    assert len(found) == len(runs)
    held_out = [client.get_metric_history(run.info.run_id, "held_out/dice/lung_nodule") for run in runs]
    assert max(map(len, held_out)) == 1  # once, however often the comparison goes on
    return found


def expected(out: Path) -> dict[str, Any]:
    """What the store got before comparisons had a journal."""
    parent = parent_name(out)
    tags = {"seed": "0", "mlflow.source.name": "boxes", "mlflow.source.type": "JOB", "mlflow.parentRunId": parent}
    found: dict[str, Any] = {
        f"{name}-0123abcd": (
            "FINISHED",
            {},
            {"held_out/dice/lung_nodule": pytest.approx(dice)},
            {**tags, "mlflow.runName": f"{name}-0123abcd"},
            [],
        )
        for name, dice in (("a-seed-0", 0.6), ("b-seed-0", 0.3))
    }
    means = {"dice/lung_nodule/a": 0.5, "dice/lung_nodule/b": 0.5}
    found[parent] = ("FINISHED", {}, means, {"lungseg3d.parent": parent, "mlflow.runName": parent}, ["compare.html"])
    return found


def test_a_store_gets_means_files_and_held_out_metrics_of_each_member(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlruns.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    track_everything(tmp_path, uri)
    assert content_of(tmp_path, uri) == expected(tmp_path)


def test_what_a_server_that_was_away_missed_is_replayed(tmp_path, monkeypatch, caplog):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://user:secret@127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    track_everything(tmp_path, uri)
    said = [record.getMessage() for record in caplog.records if "W_TRACKING" in record.getMessage()]
    assert "secret" not in "".join(said)
    assert any(f"lungseg3d replay {tmp_path}" in text for text in said)
    assert f"for each folder of {tmp_path / 'members'}: lungseg3d replay FOLDER" in said[-1]
    later = f"sqlite:///{tmp_path}/later.db"
    for folder in (tmp_path, *(tmp_path / "members").iterdir()):
        replay(folder, later)
    assert content_of(tmp_path, later) == expected(tmp_path)
