"""False alarms are remembered where they were, shown again, and forgotten once they are learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lungseg3d.engines import HardNegatives, PatchGeometry, RoiSampler, RoiTrainer, SourceGroup, StepPlan
from lungseg3d.engines.sampling.hard_negatives import PatchPlace

P = 16
STILL = PatchGeometry(0.0, (1.0, 1.0), 0.0, ())


def place(centre=(20.0, 20.0, 20.0), case: int = 0, matrix=None) -> PatchPlace:
    return PatchPlace("a", case, np.array(centre), np.eye(3) if matrix is None else matrix)


def alarm(voxel: tuple[int, int, int], height: float = 0.9, spread: float = 20.0) -> torch.Tensor:
    """A foreground probability (P, P, P) with its peak at a voxel and this sum in all."""
    probability = torch.full((P, P, P), (spread - height) / (P**3 - 1))
    probability[voxel] = height
    return probability


def drawn(memory: HardNegatives, count: int = 200) -> list:
    return [memory.draw("a", np.random.default_rng(i)) for i in range(count)]


def test_an_alarm_is_remembered_at_its_voxel_in_the_case_however_the_patch_lay():
    memory = HardNegatives(probability=1.0)
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    memory.note(place(matrix=quarter), alarm((12, 7, 3)))
    case, voxel = memory.draw("a", np.random.default_rng(0))
    # From the patch's middle (7.5): 4.5, -0.5, -4.5; turned: 0.5, 4.5, -4.5.
    assert case == 0
    np.testing.assert_allclose(voxel, [20.5, 24.5, 15.5], atol=0.51)


def test_small_alarms_are_not_remembered_and_learned_ones_are_forgotten():
    memory = HardNegatives(least_voxels=10.0)
    memory.note(place(), alarm((8, 8, 8), spread=9.0))
    assert len(memory) == 0
    memory.note(place(), alarm((8, 8, 8), spread=11.0))
    assert len(memory) == 1
    memory.note(place(case=1), alarm((8, 8, 8), spread=1.0))
    assert len(memory) == 1  # another case says nothing about it
    memory.note(place(), alarm((8, 8, 8), spread=1.0))
    assert len(memory) == 0


def test_the_worst_are_kept_when_there_is_no_room():
    memory = HardNegatives(capacity=2, probability=1.0)
    for case, spread in enumerate((30.0, 20.0, 40.0)):
        memory.note(place(case=case), alarm((8, 8, 8), spread=spread))
    assert {case for case, _ in drawn(memory)} == {0, 2}


def test_places_are_returned_to_as_often_as_asked_and_by_their_group_alone():
    memory = HardNegatives(probability=0.25)
    assert drawn(memory) == [None] * 200
    memory.note(place(), alarm((8, 8, 8)))
    again = sum(each is not None for each in drawn(memory))
    # 50 of 200 expected, with a standard deviation of 6.
    assert 26 < again < 74
    assert memory.draw("b", np.random.default_rng(0)) is None


def test_its_state_is_taken_up_by_another():
    one, other = HardNegatives(probability=1.0), HardNegatives(probability=1.0)
    one.note(place(), alarm((8, 8, 8)))
    other.load_state_dict(one.state_dict())
    assert [list(voxel) for _, voxel in drawn(other, 3)] == [list(voxel) for _, voxel in drawn(one, 3)]


class Threshold(nn.Module):
    """Calls everything above 0.5 foreground."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(40.0))

    def forward(self, image):
        return torch.cat([torch.zeros_like(image), self.slope * (image - 0.5)], dim=1)


def test_training_leads_the_sampler_to_what_the_network_takes_for_foreground():
    image = torch.full((1, 64, 64, 64), -900, dtype=torch.int16)
    image[:, 44:48, 12:16, 30:34] = 300  # 64 bright voxels that are no nodule
    case = {"image": image, "label": torch.zeros_like(image)}
    memory = HardNegatives(probability=0.5)
    group = SourceGroup("a", [case])
    sampler = RoiSampler([group], P, 8, 30, geometry=STILL, hard_negatives=memory)
    network = Threshold()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    loss = lambda prediction, label: prediction.sum() * 0  # noqa: E731
    trainer = RoiTrainer("cpu", 1, sampler, network, optimizer, loss, StepPlan("fp32"), train_handlers=[memory])
    trainer.run()
    assert len(memory) >= 1
    _, voxel = next(found for found in (memory.draw("a", np.random.default_rng(i)) for i in range(50)) if found)
    assert (np.abs(voxel - [45.5, 13.5, 31.5]) <= 3).all()
    seen = (sampler.batch()["image"] > 0.5).flatten(1).any(dim=1)
    for _ in range(4):
        seen = torch.cat([seen, (sampler.batch()["image"] > 0.5).flatten(1).any(dim=1)])
    # A patch anywhere meets the speck in 3 % of cases; half of the patches return to it now: 20 of 40, SD 3.2.
    assert 9 <= int(seen.sum()) <= 33


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_a_probability_of_0_never_returns_and_1_always_does(probability):
    memory = HardNegatives(probability=probability)
    memory.note(place(), alarm((8, 8, 8)))
    assert {each is not None for each in drawn(memory)} == {bool(probability)}
