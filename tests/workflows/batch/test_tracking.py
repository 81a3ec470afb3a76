"""A batch in MLflow: one run; and a store that is down, dies, hangs, answers 401 or 500 changes no case and no exit."""

from __future__ import annotations

import http.server
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lungseg3d.tracking import run as tracking_run
from lungseg3d.tracking.store import own_store
from lungseg3d.workflows.batch.plan import Selection
from lungseg3d.workflows.batch.run import batch
from lungseg3d.workflows.batch_state.records import BatchOptions
from lungseg3d.workflows.replay import replay
from tests.support.batch_stand_in import StandIn, contents, write_ct


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for number in range(3):
        write_ct(folder / f"ct-{number}.nii.gz", number)
    (folder / "text.nii.gz").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def untracked(source, tmp_path_factory) -> dict[str, bytes]:
    """What a batch writes that tells nobody."""
    out = tmp_path_factory.mktemp("untracked")
    batch(Selection(str(source)), out, BatchOptions(workers=1), None, StandIn())
    return contents(out)


def tracked(source: Path, out: Path) -> dict[str, bytes]:
    """What a tracked batch writes, its own files of tracking left out."""
    done = batch(Selection(str(source)), out, BatchOptions(workers=1, track=True), None, StandIn())
    assert sorted(record.status for record in done.records.values()) == ["done"] * 3 + ["refused"]
    return {name: data for name, data in contents(out).items() if not name.startswith(("mlruns", "tracking"))}


def the_run(out: Path) -> Any:
    client = MlflowClient(own_store(out))
    (run,) = client.search_runs([client.get_experiment_by_name("batch").experiment_id])
    files = {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert files == {"index.html", "summary.csv", "summary.json"}
    assert run.info.status == "FINISHED"
    counts = {name: run.data.metrics[f"cases/{name}"] for name in ("done", "refused", "failed", "pending")}
    assert counts == {"done": 3, "refused": 1, "failed": 0, "pending": 0}
    assert run.data.metrics["issues/E_NOT_AN_IMAGE"] == 1
    assert len(run.data.params["identity_sha256"]) == 64
    return run


def test_a_tracked_batch_is_one_run_with_its_counts_and_its_summary(source, untracked, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracked(source, tmp_path) == untracked
    the_run(tmp_path)


class _Answer(http.server.BaseHTTPRequestHandler):
    """Answers with the status of its server; with None not at all; after "dies" the connection is cut."""

    def _answer(self) -> None:
        status = self.server.status  # type: ignore[attr-defined]
        if status is None:
            self.server.released.wait(30)  # type: ignore[attr-defined]
        elif status == "dies":
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server():
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    found.released = threading.Event()  # type: ignore[attr-defined]
    found.daemon_threads = True
    threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
    yield found
    found.released.set()  # type: ignore[attr-defined]
    found.shutdown()
    found.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("status", ["down", "dies", None, 401, 500], ids=str)
def test_a_store_that_is_no_use_changes_no_case_and_gets_the_run_later(
    status, server, source, untracked, tmp_path, monkeypatch, caplog
):
    server.status = status
    port = 1 if status == "down" else server.server_address[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
    monkeypatch.setattr(tracking_run, "LONGEST_FLUSH_S", 2.0)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert tracked(source, tmp_path) == untracked
    assert time.monotonic() - began < 60
    assert "secret" not in caplog.text + (tmp_path / "tracking.jsonl").read_text()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert replay(tmp_path, own_store(tmp_path)).refused == 0
    the_run(tmp_path)
