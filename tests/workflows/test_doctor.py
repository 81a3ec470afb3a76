"""`doctor` measures what is there, names what is not, and says what auto takes."""

from __future__ import annotations

import pytest
import torch

from lungseg3d.inference import Plan
from lungseg3d.inference.prediction import predictors
from lungseg3d.workflows import doctor as doctor_module
from lungseg3d.workflows.doctor import Speed, doctor


@pytest.fixture
def quick(monkeypatch):
    """Measures without waiting: a window takes half a second, matrices reach 60 GFLOP/s, bf16 is emulated."""
    monkeypatch.setattr(doctor_module, "best_seconds", lambda work, device, seconds: 0.5)
    monkeypatch.setattr(doctor_module, "ceiling_gflops", lambda precision, device, seconds: 60.0)
    lacking = {"bf16": "it is emulated", "fp16": ""}
    monkeypatch.setattr(predictors, "obstacle_to", lambda *way: "")
    monkeypatch.setattr(doctor_module, "obstacle_to", lambda backend, precision, device: lacking.get(precision, ""))
    monkeypatch.setattr(doctor_module, "gflop_of", lambda network, device, side: 40.0)
    monkeypatch.setattr(predictors, "has_openvino", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_every_way_is_measured_and_one_that_is_missing_says_why(quick):
    found = doctor()
    ways = {(speed.backend, speed.precision): speed for speed in found.speeds}
    # The network reached more than the matrices: that is the ceiling then, and no share is above 100 %.
    assert ways["torch", "fp32"] == Speed("torch", "fp32", "cpu", 2.0, 80.0, 80.0)
    assert ways["torch", "bf16"] == Speed("torch", "bf16", "cpu", None, None, None, "it is emulated")
    assert ways["torch", "fp16"].windows_per_s == 2.0
    assert ways["openvino", "fp32"].windows_per_s is None
    assert "not installed" in ways["openvino", "fp32"].note
    assert "not measured" in ways["compile", "fp32"].note
    assert found.plan.backend == "torch"
    assert {"processor", "cores", "memory", "GPU", "torch"} <= {name for name, _ in found.facts}


def test_a_faster_way_than_the_one_that_auto_takes_is_named():
    plan = Plan("torch", "bf16", "")
    speeds = [Speed("torch", "bf16", "cpu", 2.0, 80, 100), Speed("openvino", "bf16", "cpu", 3.0, 120, 100)]
    assert any("--backend openvino --precision bf16" in line for line in doctor_module._advice(plan, speeds))
    assert not any("--backend" in line for line in doctor_module._advice(plan, speeds[:1]))
