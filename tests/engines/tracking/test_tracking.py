"""RunTracking: the whole run arrives, in a SQLite file or by replay, and no server can stop or slow a training."""

from __future__ import annotations

import http.server
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from mlflow import MlflowClient
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, StatsHandler, ValidationHandler, from_engine
from monai.losses import DiceCELoss
from monai.transforms import AsDiscreted

from lungseg3d.engines import RoiTrainer, RunTracking, unique_run_name
from lungseg3d.tracking import run as tracking_run
from lungseg3d.tracking.journal import Journal
from lungseg3d.tracking.store import own_store
from lungseg3d.workflows.replay import replay

EPOCHS, BATCHES, BATCH = 2, 3, 2


class Brightness(torch.nn.Module):
    """Two logits from each voxel's brightness alone: 4 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Conv3d(1, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(image)


def batches(count: int) -> list[dict[str, Any]]:
    image = torch.zeros(BATCH, 1, 12, 12, 12)
    image[:, :, 4:8, 4:8, 4:8] = 1
    return [{"image": image, "label": image.clone()} for _ in range(count)]


def trainer_with(tracker: RunTracking, loss: Any = None, others: tuple = ()) -> RoiTrainer:
    torch.manual_seed(0)
    network = Brightness()
    return RoiTrainer(
        "cpu",
        EPOCHS,
        batches(BATCHES),
        network,
        torch.optim.SGD(network.parameters(), lr=0.25),
        loss or DiceCELoss(include_background=False, to_onehot_y=True, softmax=True),
        decollate=False,
        train_handlers=[tracker, *others],
    )


@pytest.fixture(scope="module")
def made_store(tmp_path_factory) -> Path:
    """An empty SQLite store: MLflow takes seconds to make one, and a moment to copy it."""
    file = tmp_path_factory.mktemp("store") / "mlruns.db"
    MlflowClient(own_store(file.parent)).search_experiments()
    return file


@pytest.fixture
def out(tmp_path, made_store, monkeypatch) -> Path:
    """A run folder whose SQLite store is made already."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlruns.db").write_bytes(made_store.read_bytes())
    return tmp_path


def runs_in(out: Path, experiment: str = "spheres") -> list[Any]:
    """All runs of an experiment, the oldest first, without parents."""
    client = MlflowClient(own_store(out))
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], order_by=["attributes.start_time"]) if found else []
    return [run for run in runs if "lungseg3d.run_key" in run.data.tags]


def artifacts_of(out: Path, run: Any, under: str = "") -> list[str]:
    return [entry.path for entry in MlflowClient(own_store(out)).list_artifacts(run.info.run_id, under)]


def test_a_run_holds_configuration_metrics_by_epoch_and_its_end(out, caplog):
    tracker = RunTracking(out, "spheres", "a-run", parameters={"epochs": EPOCHS, "loss": {"weights": [1, 2]}})
    trainer_with(tracker).run()
    (run,) = runs_in(out)
    assert (run.info.run_name, run.info.status) == ("a-run", "FINISHED")
    expected = {"epochs": "2", "loss/weights": "[1, 2]", "network/class": "Brightness", "network/parameters": "4"}
    assert expected.items() <= run.data.params.items()
    assert {"versions/torch", "versions/monai", "versions/lungseg3d"} <= set(run.data.params)
    assert run.data.metrics["train/learning_rate"] == 0.25
    parts = run.data.metrics["train/loss_dice"] + run.data.metrics["train/loss_cross_entropy"]
    assert run.data.metrics["train/loss"] == pytest.approx(parts, abs=1e-5)
    speed = run.data.metrics["speed/patches_per_s"] * run.data.metrics["speed/epoch_s"]
    assert speed == pytest.approx(BATCHES * BATCH)
    assert run.data.metrics["memory/process_peak_gib"] > 0.1
    history = MlflowClient(own_store(out)).get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in history] == [1, 2]
    assert "config.json" in artifacts_of(out, run)
    assert "W_TRACKING" not in caplog.text


def test_validation_brings_its_metrics_and_the_same_cases_as_pictures_each_time(out):
    cases = [batches(1)[0] | {"case_id": [f"case-{i}-0", f"case-{i}-1"]} for i in range(2)]
    network = Brightness()
    evaluator = SupervisedEvaluator(
        "cpu",
        cases,
        network,
        postprocessing=AsDiscreted("pred", argmax=True),
        key_val_metric={"val_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )
    tracker = RunTracking(out, "spheres", "a-run", evaluator=evaluator, pictures=3)
    trainer_with(tracker, others=(ValidationHandler(1, evaluator),)).run()
    (run,) = runs_in(out)
    assert 0 <= run.data.metrics["val/mean_dice"] <= 1
    assert run.data.metrics["speed/validation_s"] > 0
    drawn = sorted(path.name for path in (out / "tracking" / "a-run" / "pictures").iterdir())
    assert drawn == [f"case-{i}-{j}-0000{epoch}.png" for i, j in ((0, 0), (0, 1), (1, 0)) for epoch in (1, 2)]
    pictures = [path for path in artifacts_of(out, run, "images") if path.endswith(".png")]
    assert len(pictures) == 6


def test_files_of_this_run_are_sent_and_those_of_an_earlier_one_are_not(out):
    (out / "best.pt").write_bytes(b"of another day")
    os.utime(out / "best.pt", (1e9, 1e9))
    card = out / "README.md"
    card.write_text("# Model")
    files = {"model": [out / "model.pt", out / "best.pt", out / "absent.pt"]}
    tracker = RunTracking(out, "spheres", "a-run", artifacts=files, model_card=card)
    trainer = trainer_with(tracker)
    trainer.add_event_handler(Events.COMPLETED, lambda: (out / "model.pt").write_bytes(b"weights"))
    trainer.run()
    (run,) = runs_in(out)
    assert artifacts_of(out, run, "model") == ["model/model.pt"]
    assert "model_card.md" in artifacts_of(out, run)


def test_the_split_and_the_checksum_of_the_data_are_known_and_no_path_is(out):
    manifest = out / "patients" / "Doe_John.json"
    manifest.parent.mkdir()
    case = {"case_id": "c1", "files": {"image": "Doe_John/ct.nii.gz"}}
    manifest.write_text(json.dumps({"name": "ours", "source": "s", "licence": "l", "cases": [case]}))

    class Data(list):
        data = ({"case_id": "c1", "patient": "Doe_John", "image": "/data/Doe_John/ct.nii.gz"},)

    tracker = RunTracking(
        out,
        "spheres",
        "a-run",
        manifests={"train": manifest},
        cases={"train": [Data()]},
        parameters={
            "dataset_dir": "/data/Doe_John",
            "files": ["C:\\Doe_John\\x", "~/Doe_John"],
            "at": "see /data/Doe_John",
        },
        tags={"where": "/data/Doe_John", "fold": 1, "none": None},
    )
    trainer_with(tracker).run()
    (run,) = runs_in(out)
    assert len(run.data.params["data/train/sha256"]) == 64
    assert (run.data.params["data/train/manifest"], run.data.params["data/train/cases"]) == ("ours", "1")
    assert (run.data.tags["fold"], run.data.tags["where"], run.data.params["at"]) == ("1", "<path>", "<path>")
    sent = [path for path in (out / "mlruns").rglob("*") if path.is_file()]
    assert {path.name for path in sent} == {"config.json", "split.json"}
    assert json.loads((out / "tracking" / "a-run" / "split.json").read_text()) == {"train": ["c1"]}
    for path in (*sent, out / "mlruns.db", out / "tracking.jsonl"):
        assert b"Doe_John" not in path.read_bytes(), path


def test_runs_of_folds_have_one_parent(out):
    for fold in range(2):
        tracker = RunTracking(out, "spheres", unique_run_name("fold"), parent="comparison", tags={"fold": fold})
        trainer_with(tracker).run()
    one, two = runs_in(out)
    assert one.data.tags["mlflow.parentRunId"] == two.data.tags["mlflow.parentRunId"]
    parent = MlflowClient(own_store(out)).get_run(one.data.tags["mlflow.parentRunId"])
    assert (parent.info.run_name, parent.info.status) == ("comparison", "FINISHED")


def test_an_exception_closes_the_run_as_failed_and_goes_on_to_the_caller(out):
    def loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise ValueError("/data/Doe_John is odd")

    trainer = trainer_with(RunTracking(out, "spheres", "a-run"), loss, others=(StatsHandler(iteration_log=False),))
    with pytest.raises(ValueError, match="Doe_John is odd"):
        trainer.run()
    (run,) = runs_in(out)
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "ValueError")
    # Ignite swallows an exception where there is a handler for it that does not raise it.
    with pytest.raises(ValueError, match="Doe_John is odd"):
        trainer_with(RunTracking(out, "spheres", "b-run"), loss).run()


def test_a_run_that_was_killed_without_a_word_is_closed_by_the_next_one(out):
    journal = Journal.open_in(out)
    journal.append("k", "start", experiment="spheres", name="killed", tags={}, parent=None, uri=None, time_ms=1000)
    journal.append("k", "metrics", step=1, values={"train/loss": 0.5}, time_ms=2000)
    journal.close()
    with (out / "tracking.jsonl").open("a") as file:
        file.write('{"n":2,"run":"k","op":"metr')  # the kill came here
    trainer_with(RunTracking(out, "spheres", "next")).run()
    killed, after = runs_in(out)
    assert (killed.info.run_name, killed.info.status, killed.info.end_time) == ("killed", "KILLED", 2000)
    assert killed.data.metrics == {"train/loss": 0.5}
    assert (after.info.run_name, after.info.status) == ("next", "FINISHED")


def test_two_trainings_in_one_folder_do_not_close_each_other(out):
    other = Journal.open_in(out)  # as held by a living process
    other.append("k", "start", experiment="spheres", name="living", tags={}, parent=None, uri=None)
    trainer_with(RunTracking(out, "spheres", "second")).run()
    assert [run.info.run_name for run in runs_in(out)] == ["second"]
    assert [path.name for path in Journal.files_in(out)] == ["tracking.jsonl", "tracking-2.jsonl"]
    assert [operation["op"] for operation in other.operations.values()] == ["start"]
    other.close()


class _Answer(http.server.BaseHTTPRequestHandler):
    """Answers every request with the status of its server, or not at all."""

    def _answer(self) -> None:
        if self.server.status is None:  # type: ignore[attr-defined]
            self.server.released.wait(30)  # type: ignore[attr-defined]
            return
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server_that():
    """Function (status) -> URI of a loopback server that always answers so; None hangs; "refuses" is no server."""
    servers = []

    def start(status: Any) -> str:
        if status == "refuses":
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                return f"http://127.0.0.1:{probe.getsockname()[1]}"
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
        server.status, server.released = status, threading.Event()  # type: ignore[attr-defined]
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.released.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", ["refuses", None, 401, 404, 500])
def test_a_server_that_is_no_use_costs_a_moment_and_the_replayed_run_is_the_same(
    status, server_that, out, monkeypatch, caplog
):
    monkeypatch.setattr(tracking_run, "LONGEST_FLUSH_S", 1.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server_that(status).replace("http://", "http://user:secret@"))
    epochs: list[float] = []
    tracker = RunTracking(out, "spheres", "a-run", parameters={"epochs": EPOCHS})
    trainer = trainer_with(tracker)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: epochs.append(tracker._meter.values(None)["train/loss"])
    )
    threads: list[threading.Thread] = []
    trainer.add_event_handler(Events.EPOCH_STARTED(once=1), lambda engine: threads.append(tracker._run._sender._thread))
    began = time.perf_counter()
    with caplog.at_level(logging.WARNING):
        trainer.run()
        assert time.perf_counter() - began < 10
        threads[0].join(0.1 if status is None else 10)
    assert len(epochs) == EPOCHS
    if status is not None:
        # Not what the thread of another test says, whose server hangs until that test is over.
        ours = (threading.get_ident(), threads[0].ident)
        said = [record for record in caplog.records if "W_TRACKING" in record.message and record.thread in ours]
        assert [record.message.split(":")[0] for record in said] == ["W_TRACKING_OFFLINE"]
        assert "lungseg3d replay" in said[0].message
    assert "secret" not in caplog.text + (out / "tracking.jsonl").read_text()

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    done = replay(out, own_store(out))
    assert (done.runs, done.refused) == (("a-run",), 0)
    (run,) = runs_in(out)
    assert (run.info.run_name, run.info.status, run.data.params["epochs"]) == ("a-run", "FINISHED", "2")
    history = MlflowClient(own_store(out)).get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == list(enumerate(epochs, start=1))
    assert artifacts_of(out, run) == ["config.json"]
    assert replay(out, own_store(out)).sent == 0
    assert len(runs_in(out)) == 1


def test_the_flush_of_a_real_training_is_short_enough_for_the_promise():
    # 10 s in all, of which the start takes none: it is the thread's.
    assert tracking_run.LONGEST_FLUSH_S <= 8


def test_a_file_that_was_overwritten_before_it_could_be_sent_is_not_sent(server_that, out, monkeypatch):
    monkeypatch.setattr(tracking_run, "LONGEST_FLUSH_S", 1.0)
    tracker = RunTracking(out, "spheres", "a-run", server_that("refuses"), artifacts={"model": [out / "model.pt"]})
    trainer = trainer_with(tracker)
    trainer.add_event_handler(Events.COMPLETED, lambda: (out / "model.pt").write_bytes(b"weights"))
    trainer.run()
    (out / "model.pt").write_bytes(b"those of the next run")
    assert replay(out, own_store(out)).refused == 1
    (run,) = runs_in(out)
    assert (run.info.status, artifacts_of(out, run, "model")) == ("FINISHED", [])


def test_a_fault_of_tracking_itself_is_one_warning(out, caplog):
    tracker = RunTracking(out, "spheres", "a-run", manifests={"train": out / "absent.json"})
    trainer = trainer_with(tracker)
    with caplog.at_level(logging.WARNING):
        trainer.run()
    assert trainer.state.epoch == EPOCHS
    assert caplog.text.count("W_TRACKING_FAULT") == 1


def test_a_full_disk_is_one_warning_and_the_run_arrives_all_the_same(out, monkeypatch, caplog):
    def full(self: Journal, line: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "_write", full)
    with caplog.at_level(logging.WARNING):
        trainer_with(RunTracking(out, "spheres", "a-run")).run()
    (run,) = runs_in(out)
    assert (run.info.status, len(run.data.metrics)) == ("FINISHED", 7)
    assert [record.message.split(":")[0] for record in caplog.records if "W_" in record.message] == [
        "W_TRACKING_JOURNAL"
    ]


@pytest.fixture(params=[(signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)])
def handled(request):
    """A signal with Python's own handler: a shell's background job is started with SIGINT ignored."""
    number, handler = request.param
    before = signal.signal(number, handler)
    yield number
    signal.signal(number, before)


def test_a_signal_closes_the_run_as_killed_and_still_ends_the_training(handled, out):
    number, raised = handled, {signal.SIGTERM: SystemExit, signal.SIGINT: KeyboardInterrupt}[handled]
    before = signal.getsignal(number)
    trainer = trainer_with(RunTracking(out, "spheres", "a-run"))
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda: signal.raise_signal(number))
    with pytest.raises(raised):
        trainer.run()
    (run,) = runs_in(out)
    history = MlflowClient(own_store(out)).get_metric_history(run.info.run_id, "train/loss")
    assert (run.info.status, [point.step for point in history]) == ("KILLED", [1])
    assert signal.getsignal(number) == before


_KILLED = """
import sys, time
from ignite.engine import Engine, Events
from lungseg3d.engines import RunTracking

def first(engine, error):
    raise error

engine = Engine(lambda engine, batch: {"loss": 0.5, "image": [0]})
engine.add_event_handler(Events.EXCEPTION_RAISED, first)
RunTracking(sys.argv[1], "spheres", "a-run").attach(engine)
engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: (print("training", flush=True), time.sleep(60)))
engine.run([0, 1], max_epochs=3)
"""


def test_a_process_that_is_told_to_end_closes_its_run_on_the_way_out(out):
    # A handler that raises before the tracker's leaves nothing but the end of the process to close the run.
    with subprocess.Popen([sys.executable, "-c", _KILLED, str(out)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    (run,) = runs_in(out)
    assert (run.info.status, run.data.metrics["train/loss"]) == ("KILLED", 0.5)
