"""A validation that cannot say anything says so, and chooses nothing."""

from __future__ import annotations

import logging
import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine

from lungseg3d.core import BundleError
from lungseg3d.engines import EarlyStop, MeanDice
from lungseg3d.engines.training.validation import check_validation

SMALL = runpy.run_path(str(Path(__file__).parents[2] / "support" / "small_training.py"))


def dice_of(*pairs: tuple[list[int], list[int]]) -> float:
    """Mean Dice of masks in one dimension, as the handler computes it."""
    metric = MeanDice(output_transform=lambda output: output)

    def masks(k: int) -> list[torch.Tensor]:
        return [torch.tensor(pair[k], dtype=torch.float32).reshape(1, -1, 1, 1) for pair in pairs]

    engine = Engine(lambda *_: (masks(0), masks(1)))
    metric.attach(engine, "dice")
    return float(engine.run([0]).metrics["dice"])


def test_mean_dice_is_not_a_number_where_no_case_has_one():
    assert math.isnan(dice_of(([1, 0], [0, 0])))
    assert math.isnan(dice_of(([1, 0], [0, 0]), ([0, 0], [0, 0])))


def test_mean_dice_of_the_cases_that_have_one_is_monais():
    assert dice_of(([1, 0], [1, 0]), ([1, 0], [0, 0])) == pytest.approx(1.0)
    assert dice_of(([1, 1], [1, 0]), ([0, 0], [0, 1])) == pytest.approx(1 / 3)


class Cases(list):
    @property
    def data(self) -> list[dict]:
        return [{"case_id": f"c{n}"} for n in range(len(self))]


def validator_of(*labels: int) -> SimpleNamespace:
    cases = Cases({"label": torch.full((1, 2, 2, 2), value)} for value in labels)
    return SimpleNamespace(data_loader=SimpleNamespace(dataset=cases))


def test_one_labelled_case_is_enough(caplog):
    assert check_validation(validator_of(0, 0, 1), {"early_stop": EarlyStop(None, 3)}, logging.getLogger("t"))
    assert caplog.text == ""


def test_a_fold_without_a_label_is_said_with_its_cases(caplog):
    assert not check_validation(validator_of(0, 0), {"early_stop": EarlyStop(None, None)}, logging.getLogger("t"))
    assert "W_EMPTY_FOLD" in caplog.text
    assert "c0, c1" in caplog.text


@pytest.mark.parametrize("kind", ["early stop", "plateau"])
def test_what_follows_the_metric_is_refused_without_one(kind):
    weights = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    part = EarlyStop(None, 2) if kind == "early stop" else torch.optim.lr_scheduler.ReduceLROnPlateau(weights)
    with pytest.raises(BundleError, match=r"E_EMPTY_FOLD.*which follower must follow"):
        check_validation(validator_of(0), {"follower": part}, logging.getLogger("t"))


def blank(trainer) -> None:
    """Empty the labels of the evaluator's cases."""
    (checkpoints,) = {
        handler.__self__
        for handlers in trainer._event_handlers.values()
        for handler, *_ in handlers
        if type(getattr(handler, "__self__", None)).__name__ == "RunCheckpoints"
    }
    for case in checkpoints.validator.data_loader.dataset:
        case["label"].zero_()


def test_a_training_whose_fold_has_no_nodule_leaves_weights_and_no_best(tmp_path, caplog):
    trainer = SMALL["small_training"](tmp_path, epochs=2)
    blank(trainer)
    trainer.run()
    assert "W_EMPTY_FOLD" in caplog.text
    assert {"last.pt", "model.pt"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "best.pt").exists()
    assert torch.load(tmp_path / "last.pt", weights_only=True)["best"]["best_metric_epoch"] == -1


def test_a_training_without_any_label_is_refused_before_its_first_step(tmp_path):
    healthy = {**SMALL["case"](1)}
    healthy["label"] = torch.zeros_like(healthy["label"])
    trainer = SMALL["small_training"](tmp_path, epochs=1, cases=[healthy])
    trainer.data_loader.groups = trainer.data_loader.groups[:1]
    with pytest.raises(BundleError, match=r"E_NO_FOREGROUND: .*balls: 1"):
        trainer.run()
    assert not (tmp_path / "losses.txt").exists()
