"""`compare --minutes`: steps that fit into a time, timed once, the same when the comparison goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungseg3d.core import TrainingError, UsageError
from lungseg3d.workflows.compare import budget as module
from lungseg3d.workflows.compare.budget import batches_within, step_s
from lungseg3d.workflows.compare.plan import plan_comparison
from tests.support.small_data import crops_overrides, small_comparison


def without_batches(crops: Path) -> dict[str, str]:
    return {key: value for key, value in crops_overrides(crops).items() if key != "batches_per_epoch"} | {"epochs": "4"}


def run_with(seconds: dict[str, float]):
    """A process that writes what it was said to have measured, or fails where nothing is said."""
    started = []

    def run(self, words, log, watch):
        task = json.loads(Path(words[-1]).read_text())
        network = Path(task["folder"]).name
        started.append(network)
        log.write_text("ValueError: no such thing\n")
        if network not in seconds:
            return 1
        record = {"step_s": seconds[network], "settings_sha256": task["settings_sha256"]}
        (Path(task["folder"]) / "speed.json").write_text(json.dumps(record))
        return 0

    return run, started


def told(*_: object) -> None:
    """Nobody listens."""


def test_a_network_twice_as_slow_takes_half_as_many_steps_and_is_timed_once(crops, tmp_path, monkeypatch):
    run, started = run_with({"light_unet": 0.5, "se_unet": 1.0})
    monkeypatch.setattr(module.Children, "run", run)
    asked = small_comparison(crops, overrides=without_batches(crops), minutes=2.0)
    plan = plan_comparison(asked, tmp_path)
    batches = [batches_within(plan, 2.0, 2, told, {}) for _ in range(2)]
    assert batches == [{"light_unet": 60, "se_unet": 30}] * 2
    assert sorted(started) == ["light_unet", "se_unet"]
    members = plan_comparison(asked, tmp_path, batches[0]).members
    assert [member.steps for member in members] == [240, 240, 120, 120]
    words = members[-1].command
    assert words[words.index("--batches_per_epoch") + 1] == "30"
    assert plan_comparison(asked, tmp_path, {"light_unet": 60, "se_unet": 31}).members[-1].folder != members[-1].folder


def test_a_network_that_cannot_be_timed_is_named_with_its_reason(crops, tmp_path, monkeypatch):
    monkeypatch.setattr(module.Children, "run", run_with({"light_unet": 0.5})[0])
    plan = plan_comparison(small_comparison(crops, overrides=without_batches(crops), minutes=2.0), tmp_path)
    with pytest.raises(TrainingError, match="se_unet: exit code 1: ValueError: no such thing"):
        batches_within(plan, 2.0, 1, told, {})


def test_minutes_and_steps_are_not_both_said(crops, tmp_path):
    with pytest.raises(UsageError, match="Use --minutes"):
        plan_comparison(small_comparison(crops, minutes=2.0), tmp_path)


def test_a_step_is_timed_by_the_training_itself(crops, tmp_path):
    choices = small_comparison(crops, overrides=without_batches(crops), minutes=2.0)
    member = plan_comparison(choices, tmp_path).members[0]
    task = {"bundle": str(small_comparison(crops).bundle), "configs": [str(path) for path in member.configs]}
    task |= {"overrides": member.overrides, "fold": 0, "folder": str(tmp_path)}
    assert 0.0005 < step_s(task) < 5
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}
