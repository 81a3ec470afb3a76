"""Members of a comparison: each done once, gone on with after a stop, and alone in its failure."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lungseg3d.workflows.compare import members as module
from lungseg3d.workflows.compare.members import read_record, reason_of, run_members
from lungseg3d.workflows.compare.plan import Choices, ComparisonPlan, Member
from lungseg3d.workflows.train import child_processes

TRAIN = """
import sys, pathlib
folder = pathlib.Path(sys.argv[1])
with (folder / "starts.txt").open("a") as file: file.write("train\\n")
print("Epoch: 1/2, Iter: 1/1 -- train_loss: 0.5")
(folder / "model.pt").write_bytes(b"weights")
"""
MEASURE = """
import json, sys, pathlib
task = json.loads(pathlib.Path(sys.argv[1]).read_text())
folder = pathlib.Path(task["folder"])
with (folder / "starts.txt").open("a") as file: file.write("measure\\n")
(folder / "member.json").write_text(json.dumps(task["record"] | {"status": "done", "cases": []}))
"""
FAIL = "import sys; print('E_LOSS_NOT_FINITE: epoch 1: the loss is nan in /data/Smith_John/ct.nii.gz'); sys.exit(5)"
HANG = "import os, sys, time; open(sys.argv[1] + '/pid', 'w').write(str(os.getpid())); time.sleep(60)"


def member(out: Path, network: str = "a", script: str = TRAIN, **settings: object) -> Member:
    folder = out / "members" / f"{network}-{len(settings)}"
    words = (sys.executable, "-c", script, str(folder))
    return Member(network, 0, 1, {"weights": "model", **settings}, folder, words, (), {}, ("nodule",))


def run(out: Path, *members: Member, jobs: int = 1, said: list | None = None) -> list[dict]:
    plan = ComparisonPlan(Choices(out, ("a",)), out, members, ("nodule",), "test")
    log = [] if said is None else said
    return run_members(plan, jobs, lambda *what: log.append(what), os.environ)


def starts(one: Member) -> list[str]:
    return (one.folder / "starts.txt").read_text().split()


@pytest.fixture(autouse=True)
def _small_measurement(monkeypatch):
    monkeypatch.setattr(module, "measure_command", lambda task: [sys.executable, "-c", MEASURE, str(task)])
    monkeypatch.setattr(child_processes, "_POLL_S", 0.02)


def test_a_member_is_trained_then_measured_and_not_done_again(tmp_path):
    one, said = member(tmp_path), []
    (record,) = run(tmp_path, one, said=said)
    assert (record["status"], record["network"], record["settings_sha256"]) == ("done", "a", one.settings_sha256)
    assert list(dict.fromkeys(step for _, step, _ in said)) == ["training", "measuring", "done"]
    assert run(tmp_path, one) == [record]
    assert starts(one) == ["train", "measure"]


def test_a_weight_file_alone_is_not_trusted(tmp_path):
    one = member(tmp_path)
    one.folder.mkdir(parents=True)
    (one.folder / "model.pt").write_bytes(b"of unknown origin")
    run(tmp_path, one)
    assert starts(one) == ["train", "measure"]


def test_weights_that_are_not_those_measured_are_done_again(tmp_path):
    one = member(tmp_path)
    run(tmp_path, one)
    (one.folder / "model.pt").write_bytes(b"others")
    assert read_record(one) == {}
    run(tmp_path, one)
    assert starts(one) == ["train", "measure"] * 2


def test_a_record_of_other_settings_counts_for_nothing(tmp_path):
    run(tmp_path, member(tmp_path))
    other = replace(member(tmp_path), settings={"weights": "model", "epochs": 9})
    assert read_record(other) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": "done"}'])
def test_a_damaged_record_counts_for_nothing(tmp_path, text):
    one = member(tmp_path)
    one.folder.mkdir(parents=True)
    (one.folder / "member.json").write_text(text)
    assert read_record(one) == {}


def test_a_member_that_was_trained_but_not_measured_is_only_measured(tmp_path, monkeypatch):
    one = member(tmp_path)
    failing = [sys.executable, "-c", "raise RuntimeError('three classes')"]
    monkeypatch.setattr(module, "measure_command", lambda task: failing)
    (record,) = run(tmp_path, one)
    assert (record["status"], record["reason"]) == ("failed", "measuring: exit code 1: RuntimeError: three classes")
    monkeypatch.setattr(module, "measure_command", lambda task: [sys.executable, "-c", MEASURE, str(task)])
    assert run(tmp_path, one)[0]["status"] == "done"
    assert starts(one) == ["train", "measure"]


def test_one_member_that_fails_leaves_the_others_alone_and_is_tried_again(tmp_path):
    bad, good = member(tmp_path, "bad", FAIL), member(tmp_path, "good")
    records = run(tmp_path, bad, good, jobs=2)
    assert [record["status"] for record in records] == ["failed", "done"]
    assert "exit code 5: E_LOSS_NOT_FINITE: epoch 1: the loss is nan" in records[0]["reason"]
    assert "Smith" not in json.dumps(records)
    mended = replace(bad, command=member(tmp_path, "bad").command)
    assert [record["status"] for record in run(tmp_path, mended, good)] == ["done", "done"]
    assert starts(good) == ["train", "measure"]


def test_a_training_that_leaves_no_weights_has_failed(tmp_path):
    (record,) = run(tmp_path, member(tmp_path, script="pass"))
    assert (record["status"], record["reason"]) == ("failed", "training: it left no model.pt")


def test_a_stop_ends_the_trainings_and_leaves_no_record(tmp_path):
    one = member(tmp_path, script=HANG)
    plan = ComparisonPlan(Choices(tmp_path, ("a",)), tmp_path, (one, member(tmp_path, "b")), ("nodule",), "test")
    pid = one.folder / "pid"

    def stop_when_it_runs(*_: object) -> None:
        if pid.is_file() and pid.read_text():
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_members(plan, 1, stop_when_it_runs, os.environ)
    assert time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert read_record(one) == {}
    assert not (tmp_path / "members" / "b-0" / "starts.txt").exists()


@pytest.mark.parametrize(
    ("code", "log", "said"),
    [
        (-9, "", "killed by SIGKILL, often for want of memory"),
        (-15, "Epoch: 1/2", "killed by SIGTERM"),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried\n", "out of memory (exit code 1): torch.OutOf"),
        (1, "DefaultCPUAllocator: can't allocate memory: you tried", "out of memory (exit code 1)"),
        (1, "x\nValueError: one\nValueError: two\nbye\n", "exit code 1: ValueError: two"),
        (3, "only words\n\n", "exit code 3: only words"),
        (3, "", "exit code 3: no output"),
    ],
)
def test_the_reason_of_a_failure_is_one_line(code, log, said):
    reason = reason_of(code, log)
    assert reason.startswith(said)
    assert "\n" not in reason


def test_progress_follows_the_epochs_in_the_log():
    assert module._fraction("") == 0.0
    assert module._fraction("Epoch: 1/4, Iter: 5/10 --\nEpoch: 3/4, Iter: 10/10 -- train_loss: 0.1") == 0.75
