"""A profile holds what ran inside it: steps with their time, networks with their operations."""

from __future__ import annotations

import pytest
import torch

from lungseg3d.core.stopwatch import Stopwatch
from lungseg3d.inference import predictor_of
from lungseg3d.networks import LightUNet3d
from lungseg3d.networks.cost import gflop_of
from lungseg3d.workflows import profile as profile_module
from lungseg3d.workflows.profile import NetworkCost, Profile, ceiling_of, profiled


def test_steps_of_one_name_add_up_and_networks_say_what_they_computed():
    network = LightUNet3d(channels=(4, 8)).eval()
    with profiled() as profile, torch.no_grad():
        for _ in range(2):
            watch = Stopwatch()
            with watch.step("nodules"):
                predictor_of(network, "torch", "fp32")(torch.rand(1, 1, 48, 96, 96))
            with watch.step("write"):
                pass
    assert [step.name for step in profile.steps] == ["nodules", "write"]
    assert profile.steps[0].wall_s >= profile.networks[0].seconds > 0
    assert profile.steps[0].peak_mib > 50
    (cost,) = profile.networks
    assert (cost.name, cost.calls, cost.windows) == ("LightUNet3d", 2, 1.0)
    assert cost.gflops * cost.seconds == pytest.approx(gflop_of(network, torch.device("cpu")))


def test_nothing_is_kept_after_the_profile_has_ended():
    with profiled() as profile:
        pass
    with Stopwatch().step("read"):
        pass
    assert profile.steps == []


@pytest.mark.parametrize(("measured", "ceiling"), [(50.0, 80.0), (100.0, 100.0)])
def test_no_network_lies_above_the_ceiling(monkeypatch, measured, ceiling):
    monkeypatch.setattr(profile_module, "obstacle_to", lambda *way: "")
    monkeypatch.setattr(profile_module, "ceiling_gflops", lambda precision, device: measured)
    profile = Profile(networks=[NetworkCost("A", 1, 1.0, 1.0, 80.0), NetworkCost("B", 1, 1.0, 1.0, 20.0)])
    assert ceiling_of(profile, "fp32", "cpu") == ceiling


def test_a_precision_that_pytorch_does_not_compute_has_no_ceiling(monkeypatch):
    monkeypatch.setattr(profile_module, "obstacle_to", lambda *way: "emulated")
    assert ceiling_of(Profile(), "bf16", "cpu") is None
