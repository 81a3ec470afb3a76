"""A training that is killed goes on as if nothing had been, and only in the folder where it belongs."""

from __future__ import annotations

import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events

from lungseg3d.core import BundleError
from lungseg3d.engines.training.checkpoints import write_whole
from lungseg3d.engines.training.randomness import random_state, set_random_state

SCRIPT = Path(__file__).parents[2] / "support" / "small_training.py"
SMALL = runpy.run_path(str(SCRIPT))
small_training, losses_of, case, ITERATIONS = (
    SMALL[name] for name in ("small_training", "losses_of", "case", "ITERATIONS")
)
EPOCHS = 5


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    """The folder of a training that nobody stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    small_training(folder).run()
    return folder


def start(folder: Path, *moment: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder), *moment], stderr=subprocess.PIPE, text=True)


def assert_same_end(folder: Path, other: Path) -> None:
    assert losses_of(folder) == losses_of(other)
    assert len(losses_of(folder)) == EPOCHS * ITERATIONS
    for name in ("model.pt", "best.pt"):
        ours, theirs = (torch.load(where / name, weights_only=True) for where in (folder, other))
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert {path.name for path in folder.iterdir()} == {"last.pt", "best.pt", "model.pt", "losses.txt"}


def test_a_kill_inside_the_checkpoint_write_changes_no_bit_of_what_follows(unbroken, tmp_path):
    killed = start(tmp_path, "save", "3")
    killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL
    assert max(losses_of(tmp_path)) == 3 * ITERATIONS
    # The half that was written is in no one's way, and the checkpoint of the epoch before is whole.
    (half,) = tmp_path.glob(".writing-*-last.pt")
    assert half.stat().st_size > 0
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 2
    resumed = small_training(tmp_path)
    first: list[int] = []
    resumed.add_event_handler(Events.ITERATION_STARTED, lambda trainer: first.append(trainer.state.iteration))
    resumed.run()
    assert first[0] == 2 * ITERATIONS + 1
    assert_same_end(tmp_path, unbroken)


def test_a_stop_in_the_middle_of_an_epoch_changes_no_bit_of_what_follows(unbroken, tmp_path):
    class Stopped(Exception):
        pass

    def stop(trainer, iteration):
        if trainer.state.iteration == iteration:
            raise Stopped

    for iteration in (2, 7, 15):  # the first before there is any checkpoint
        trainer = small_training(tmp_path)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, stop, iteration)
        with pytest.raises(Stopped):
            trainer.run()
    small_training(tmp_path).run()
    assert_same_end(tmp_path, unbroken)


@pytest.mark.slow
def test_five_kills_at_random_moments_change_no_bit_of_what_follows(unbroken, tmp_path):
    dice = random.Random(4)
    kills = 0
    for until in (1, 5, 9, 13):
        process = start(tmp_path)
        deadline = time.monotonic() + 600
        while not (tmp_path / "losses.txt").is_file() or max(losses_of(tmp_path), default=0) < until:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.15))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    in_write = start(tmp_path, "save", str(torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] + 1))
    in_write.communicate(timeout=600)
    assert in_write.returncode == -signal.SIGKILL
    assert kills == 4
    small_training(tmp_path).run()
    assert_same_end(tmp_path, unbroken)


def test_the_last_checkpoint_is_complete(unbroken):
    content = torch.load(unbroken / "last.pt", weights_only=True)
    assert (content["epoch"], content["iteration"]) == (EPOCHS, EPOCHS * ITERATIONS)
    assert set(content["objects"]) == {"schedule", "average"}
    assert set(content["ranks"][0]["random"]) >= {"python", "numpy", "torch"}
    assert content["ranks"][0]["sampler"]["drawn"] == EPOCHS * ITERATIONS
    assert content["optimizer"]["state"]
    assert 0 <= content["best"]["best_metric"] <= 1
    # model.pt is the average, not the network of the last step.
    model = torch.load(unbroken / "model.pt", weights_only=True)
    assert all(torch.equal(model[key], content["objects"]["average"][key]) for key in model)
    assert any(not torch.equal(model[key], content["model"][key]) for key in model)


def test_a_finished_training_does_not_begin_again_and_a_longer_one_goes_on(unbroken, tmp_path):
    trainer = small_training(tmp_path, epochs=2)
    trainer.run()
    again = small_training(tmp_path, epochs=2)
    again.run()
    assert again.state.epoch == 2
    assert len((tmp_path / "losses.txt").read_text().splitlines()) == 2 * ITERATIONS
    longer = small_training(tmp_path, epochs=3)
    longer.run()
    assert max(losses_of(tmp_path)) == 3 * ITERATIONS


def test_resume_false_starts_anew(tmp_path):
    for _ in range(2):
        small_training(tmp_path, epochs=1, resume=False).run()
    rows = (tmp_path / "losses.txt").read_text().splitlines()
    assert rows[:ITERATIONS] == rows[ITERATIONS:]
    assert len(rows) == 2 * ITERATIONS


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"channels": (4, 12)}, "weights::"),
        ({"seed": 7}, "settings::seed: 0 there, 7 here"),
        ({"cases": [case(1)]}, "cases::balls: 2 there, 1 here, ball-2 only there"),
        ({"loss": torch.nn.CrossEntropyLoss()}, "loss: DiceCELoss there, CrossEntropyLoss here"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_says_what_differs(unbroken, changes, named):
    before = (unbroken / "last.pt").read_bytes()
    with pytest.raises(BundleError, match="E_OTHER_TRAINING") as caught:
        small_training(unbroken, **changes).run()
    assert named in str(caught.value)
    assert "resume=False" in str(caught.value)
    assert (unbroken / "last.pt").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of something", None])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    if content is None:
        torch.save({"model": {}}, tmp_path / "last.pt")
    else:
        (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(BundleError, match="E_CHECKPOINT"):
        small_training(tmp_path, epochs=1).run()


class _Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_hostile_checkpoint_is_refused_before_torch_sees_it(tmp_path, monkeypatch):
    torch.save({"format": 1, "model": _Runs(tmp_path / "owned")}, tmp_path / "last.pt")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(BundleError, match="E_UNSAFE_CHECKPOINT"):
        small_training(tmp_path, epochs=1).run()
    assert not (tmp_path / "owned").exists()


def test_a_word_for_resume_is_refused_rather_than_taken_as_true(tmp_path):
    with pytest.raises(BundleError, match="Write resume=False"):
        small_training(tmp_path, epochs=1, resume="false")


def test_a_write_that_fails_leaves_the_file_of_before(tmp_path):
    class Unsavable:
        def __reduce__(self):
            raise RuntimeError("no")

    write_whole({"a": 1}, tmp_path / "file.pt")
    with pytest.raises(RuntimeError):
        write_whole({"a": torch.zeros(1000), "b": Unsavable()}, tmp_path / "file.pt")
    assert torch.load(tmp_path / "file.pt") == {"a": 1}


def test_random_numbers_go_on_where_they_were(tmp_path):
    def drawn() -> list[float]:
        return [random.random(), float(np.random.rand()), float(np.random.randn()), torch.rand(1).item()]  # noqa: NPY002

    random.gauss(0, 1)  # leaves a second value waiting
    torch.save(random_state(), tmp_path / "state.pt")
    first = drawn()
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert drawn() == first
    assert drawn() != first
