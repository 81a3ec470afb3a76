"""A loss that is not a number stops the training at once, names the batch, and spoils no checkpoint."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.losses import DiceCELoss

from lungseg3d.core import BundleError, TrainingError
from lungseg3d.engines import ExitCodes

SMALL = runpy.run_path(str(Path(__file__).parents[2] / "support" / "small_training.py"))
small_training, case, ITERATIONS = (SMALL[name] for name in ("small_training", "case", "ITERATIONS"))


class Failing:
    """A loss that is `value` at one iteration."""

    def __init__(self, at: int, value: float) -> None:
        self.at, self.value, self.calls = at, value, 0
        self.loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)

    def __call__(self, prediction, target):
        self.calls += 1
        return self.loss(prediction, target) * (self.value if self.calls == self.at else 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [1, ITERATIONS + 2, 2 * ITERATIONS])
def test_training_stops_at_the_iteration_whose_loss_is_not_finite(tmp_path, value, at):
    loss = Failing(at, value)
    trainer = small_training(tmp_path, loss=loss)
    with pytest.raises(TrainingError, match="E_LOSS_NOT_FINITE") as caught:
        trainer.run()
    assert loss.calls == at
    epoch = (at - 1) // ITERATIONS + 1
    assert f"epoch {epoch}, iteration {at}: the loss is {value}" in str(caught.value)
    assert all(torch.isfinite(p).all() for p in trainer.network.parameters())
    # The checkpoint of the last whole epoch is there, and good.
    assert (tmp_path / "last.pt").is_file() == (epoch > 1)
    if epoch > 1:
        content = torch.load(tmp_path / "last.pt", weights_only=True)
        assert content["epoch"] == epoch - 1
        assert all(torch.isfinite(tensor).all() for tensor in content["model"].values())
    assert not (tmp_path / "model.pt").exists()


def test_the_batch_is_named_by_its_cases_and_groups(tmp_path):
    with pytest.raises(TrainingError, match=r"of (ball-[12] \(balls\)|ball-3 \(others\)), ball-") as caught:
        small_training(tmp_path, loss=Failing(2, float("nan"))).run()
    assert "last checkpoint is from before" in str(caught.value)


def test_a_label_without_a_class_is_named_before_the_loss_trips_over_it(tmp_path):
    trainer = small_training(tmp_path)
    for group in trainer.data_loader.groups:
        for known in group.cached(torch.device("cpu")):
            known["label"][known["label"] > 0] = 2
    with pytest.raises(BundleError, match=r"a label is 2, the network has 2 classes, 0 to 1, for a batch of ball-"):
        trainer.run()


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(tmp_path):
    class Rooted(Failing):
        def __call__(self, prediction, target):
            self.calls += 1
            loss = self.loss(prediction, target)
            # The root of 0 is 0, and its slope is infinite.
            return loss + (prediction.sum() * 0).abs().sqrt() if self.calls == self.at else loss

    trainer = small_training(tmp_path, loss=Rooted(ITERATIONS, 0.0))
    with pytest.raises(TrainingError, match="the gradient's norm is nan"):
        trainer.run()
    assert trainer.state.iteration == ITERATIONS
    assert all(torch.isfinite(p).all() for p in trainer.network.parameters())
    assert not (tmp_path / "last.pt").exists()


def test_after_the_cause_is_gone_the_same_training_goes_on(tmp_path):
    with pytest.raises(TrainingError):
        small_training(tmp_path, epochs=3, loss=Failing(ITERATIONS + 1, float("nan"))).run()
    trainer = small_training(tmp_path, epochs=3, loss=Failing(-1, 0.0))
    trainer.run()
    assert trainer.state.iteration == 3 * ITERATIONS
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.parametrize(
    ("error", "code"), [(TrainingError("E_LOSS_NOT_FINITE", "the loss is nan"), 5), (BundleError("E_X", "other"), 3)]
)
def test_as_a_program_it_ends_with_the_message_and_an_exit_code(tmp_path, capsys, error, code):
    def fail(trainer):
        raise error

    trainer = small_training(tmp_path, after=[ExitCodes()])
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), fail)
    with pytest.raises(SystemExit) as caught:
        trainer.run()
    assert caught.value.code == code
    assert str(error) in capsys.readouterr().err


def test_any_other_error_stays_what_it_is(tmp_path):
    def fail(trainer):
        raise ZeroDivisionError

    trainer = small_training(tmp_path, after=[ExitCodes()])
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), fail)
    with pytest.raises(ZeroDivisionError):
        trainer.run()
