"""Two processes by Gloo train what one process trains with the same global batch."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lungseg3d.engines.training.processes import GlobalBatchNorm3d, _with_global_norms

SCRIPT = Path(__file__).parents[2] / "support" / "small_training.py"
small_training = runpy.run_path(str(SCRIPT))["small_training"]


def two_processes(folder: Path, epochs: int) -> None:
    """Train with 2 processes of 2 patches each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(SCRIPT), str(folder), "processes", "2", str(epochs)]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_with_their_global_batch_and_resume_together(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    small_training(one, epochs=2, batch_size=4, dropout=0.0, rate=0.1).run()
    two_processes(two, 1)
    assert torch.load(two / "last.pt", weights_only=True)["epoch"] == 1
    two_processes(two, 2)
    ours, theirs = (torch.load(folder / "last.pt", weights_only=True) for folder in (one, two))
    assert (theirs["epoch"], len(theirs["ranks"])) == (2, 2)
    assert list(ours["model"]) == list(theirs["model"])
    for name, weights in ours["model"].items():
        torch.testing.assert_close(theirs["model"][name], weights, atol=1e-5, rtol=1e-4, msg=name)


def test_alone_a_global_norm_is_a_batch_norm_of_the_same_names():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv3d(1, 3, 3), nn.Sequential(nn.BatchNorm3d(3), nn.ReLU()))
    state = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    image = torch.rand(2, 1, 6, 6, 6)
    expected = plain(image)
    after = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    plain.load_state_dict(state)
    shared = _with_global_norms(plain)
    assert isinstance(shared[1][0], GlobalBatchNorm3d)
    assert torch.equal(shared(image), expected)
    assert list(shared.state_dict()) == list(after)
    assert all(torch.equal(shared.state_dict()[name], after[name]) for name in after)
