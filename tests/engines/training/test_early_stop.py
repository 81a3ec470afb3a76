"""Training ends after so many validations without a new best, and stays ended."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.engines import Evaluator, Trainer

from lungseg3d.engines import EarlyStop


class Scored(Evaluator):
    """An evaluator whose key metric takes given values, one a run."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__(torch.device("cpu"), [0], mode="eval")
        self.scores = iter(scores)
        self.state.key_metric_name = "score"

    def _iteration(self, engine, batchdata):
        self.state.metrics["score"] = next(self.scores)
        return {}


class Counting(Trainer):
    def _iteration(self, engine, batchdata):
        return {}


def run(scores: list[float], patience: int | None, state: dict | None = None) -> tuple[Counting, EarlyStop]:
    validator = Scored(scores)
    stop = EarlyStop(validator, patience)
    trainer = Counting(torch.device("cpu"), len(scores), [0])
    stop.attach(trainer)
    if state:
        trainer.add_event_handler(Events.STARTED, lambda: stop.load_state_dict(state))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: validator.run(trainer.state.epoch))
    trainer.run()
    return trainer, stop


@pytest.mark.parametrize(
    ("scores", "patience", "epochs"),
    [
        ([0.1, 0.2, 0.2, 0.1, 0.3, 0.4], 2, 4),
        ([0.1, 0.2, 0.1, 0.3, 0.2, 0.2, 0.1], 2, 6),
        ([0.5, 0.4, 0.3], 1, 2),
        ([0.5, 0.4, 0.3], 3, 3),
        ([0.5, 0.4, 0.3, 0.2], None, 4),
    ],
)
def test_training_ends_after_as_many_validations_without_a_new_best(scores, patience, epochs):
    trainer, _ = run(scores, patience)
    assert trainer.state.epoch == epochs


def test_a_training_that_was_stopped_stays_stopped_and_one_that_was_not_goes_on_counting():
    _, stopped = run([0.5, 0.4, 0.4, 0.9], 2)
    again, _ = run([0.9, 0.9], 2, stopped.state_dict())
    assert again.state.epoch == 0
    _, waiting = run([0.5, 0.4], 2)
    going_on, _ = run([0.5, 0.9, 0.9], 2, waiting.state_dict())
    assert going_on.state.epoch == 1  # 0.4 and 0.5 make two


def test_without_patience_there_is_nothing_to_keep():
    _, stop = run([0.5, 0.4], None)
    assert stop.state_dict() == {}
    stop.load_state_dict({})
