"""The moving average of weights: its arithmetic, and where it begins."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from lungseg3d.engines import WeightAverage


class Stepping(Engine):
    """An engine that adds 1 to the weight of a network at each iteration, and counts every `every`-th as a step."""

    steps: ClassVar[int] = 1

    def __init__(self, network: nn.Linear, every: int = 1) -> None:
        super().__init__(lambda engine, batch: network.weight.data.add_(1.0))
        self.every = every

    def steps_at(self, iteration: int) -> bool:
        return iteration % self.every == 0


def network_of(value: float) -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(value)
    return network


def test_the_average_of_1_2_3_from_0_by_one_half_is_known():
    network = network_of(0.0)
    average = WeightAverage(network, 0.5, warm_up=False)
    engine = Stepping(network)
    average.attach(engine)
    engine.run([0, 0, 0])
    # 0 -> 0.5 -> 1.25 -> 2.125 while the weight goes 1, 2, 3.
    assert average.network.weight.item() == pytest.approx(2.125)
    assert network.weight.item() == 3


def test_it_moves_only_where_the_optimiser_steps():
    network = network_of(0.0)
    average = WeightAverage(network, 0.5, warm_up=False)
    engine = Stepping(network, every=2)
    average.attach(engine)
    engine.run([0, 0, 0, 0])
    # 0 -> half of 2 = 1 -> half of 1 and 4 = 2.5.
    assert average.network.weight.item() == pytest.approx(2.5)


def test_it_begins_at_the_weights_that_were_loaded_when_the_run_started():
    network = network_of(0.0)
    average = WeightAverage(network, 0.5, warm_up=False)
    engine = Stepping(network)
    engine.add_event_handler(Events.STARTED, lambda: network.weight.data.fill_(10.0))
    average.attach(engine)
    engine.run([0])
    assert average.network.weight.item() == pytest.approx(10.5)


def test_in_the_first_steps_little_of_the_beginning_stays():
    network = network_of(0.0)
    average = WeightAverage(network, 0.999)
    engine = Stepping(network)
    average.attach(engine)
    engine.run([0, 0])
    # 2/11 of 0 and 9/11 of 1, then 3/12 of that and 9/12 of 2.
    assert average.network.weight.item() == pytest.approx(0.25 * (9 / 11) + 0.75 * 2)


def test_late_in_a_training_the_decay_is_the_one_that_was_asked_for():
    network = network_of(0.0)
    average = WeightAverage(network, 0.5)
    engine = Stepping(network)
    average.attach(engine)
    engine.run([0] * 20)
    # From (1 + t) / (10 + t) >= 1/2 on, the average lags the weight by one step: 2^-k away from it.
    assert average.network.weight.item() == pytest.approx(19, abs=1e-3)


def test_what_a_batch_norm_counted_is_averaged_with_the_weights():
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.norm = nn.Parameter(torch.zeros(1)), nn.BatchNorm1d(1)

    network = Norm()
    average = WeightAverage(network, 0.5, warm_up=False)
    engine = Stepping(network)
    engine.add_event_handler(Events.ITERATION_STARTED, lambda: network.norm.running_mean.add_(1.0))
    average.attach(engine)
    engine.run([0, 0, 0])
    assert average.network.norm.running_mean.item() == pytest.approx(2.125)
    assert network.norm.running_mean.item() == 3


def test_without_a_decay_it_is_the_network_itself():
    network = network_of(1.0)
    average = WeightAverage(network, 0.0)
    assert average.network is network
    assert average.state_dict() == {}
    engine = Stepping(network)
    average.attach(engine)
    engine.run([0])
    assert average.network.weight.item() == 2


def test_its_state_is_taken_up_by_another():
    one, other = (WeightAverage(network_of(value), 0.9) for value in (3.0, 4.0))
    other.load_state_dict(one.state_dict())
    assert other.network.weight.item() == 3
    assert torch.equal(one.network.weight, other.network.weight)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 999])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match="expected 0 <= decay < 1"):
        WeightAverage(network_of(0.0), decay)
