"""RoiTrainer: it learns, in every precision, with MONAI's handlers attached."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from ignite.engine import Events
from monai.engines import Evaluator
from monai.handlers import CheckpointSaver, StatsHandler, ValidationHandler, from_engine
from monai.losses import DiceCELoss

from lungseg3d.engines import RoiSampler, RoiTrainer, SourceGroup
from lungseg3d.networks import LightUNet3d

LOSS = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)


@pytest.fixture(scope="module")
def batches() -> RoiSampler:
    """Bright blocks in the dark, labelled where they are bright."""
    image = torch.full((1, 24, 24, 24), -900, dtype=torch.int16)
    image[:, 8:16, 8:16, 8:16] = 100
    case = {"image": image, "label": (image > 0).to(torch.uint8)}
    return RoiSampler([SourceGroup("a", [case])], patch_size=16, batch_size=2, batches_per_epoch=6)


def trainer_of(batches, precision="fp32", epochs=2, device="cpu", rate=0.01, loss=LOSS, **options) -> RoiTrainer:
    torch.manual_seed(0)
    network = LightUNet3d(channels=(4, 8)).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    return RoiTrainer(device, epochs, batches, network, optimizer, loss, precision, decollate=False, **options)


def losses_of(trainer: RoiTrainer) -> list[float]:
    losses: list[float] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].item())
    )
    trainer.run()
    return losses


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_few_iterations_lower_the_loss(batches, precision):
    losses = losses_of(trainer_of(batches, precision, epochs=4))
    assert len(losses) == 24
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


def test_bf16_runs_the_network_in_bf16_and_takes_the_loss_in_fp32(batches):
    seen = []

    def loss(prediction, target):
        seen.append(prediction.dtype)
        return LOSS(prediction, target)

    trainer = trainer_of(batches, "bf16", epochs=1, loss=loss)
    trainer.run()
    assert trainer.state.output["pred"].dtype == torch.bfloat16
    assert set(seen) == {torch.float32}
    assert all(p.dtype == torch.float32 for p in trainer.network.parameters())


def test_gradients_are_clipped_to_the_norm_that_was_asked(batches):
    norms = []

    def note(engine):
        norms.append(torch.stack([p.grad.norm() for p in engine.network.parameters()]).norm().item())

    for limit in (None, 1e-3):
        trainer = trainer_of(batches, epochs=1, max_gradient_norm=limit)
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), note)
        trainer.run()
    assert norms[0] > 0.01
    assert norms[1] == pytest.approx(1e-3, rel=1e-2)


def test_gradients_are_scaled_for_fp16_alone(batches):
    for precision, scaled in (("fp32", False), ("bf16", False), ("fp16", True)):
        assert trainer_of(batches, precision).scaler_.is_enabled() == scaled


def test_an_unknown_precision_is_refused_before_training(batches):
    with pytest.raises(ValueError, match="expected one of"):
        trainer_of(batches, "fp8")


def test_monai_handlers_attach_as_to_any_trainer(batches, tmp_path):
    class Counted(Evaluator):
        epochs: ClassVar[list[int]] = []

        def run(self, global_epoch=1):
            self.epochs.append(global_epoch)

    handlers = [
        StatsHandler(iteration_log=False, tag_name="loss", output_transform=from_engine(["loss"], first=True)),
        CheckpointSaver(str(tmp_path), {"model": torch.nn.Linear(1, 1)}, save_final=True, final_filename="last.pt"),
        ValidationHandler(2, Counted(torch.device("cpu"), [0])),
    ]
    trainer = trainer_of(batches, epochs=4, train_handlers=handlers)
    trainer.run()
    assert trainer.state.epoch == 4
    assert Counted.epochs == [2, 4]
    assert (tmp_path / "last.pt").is_file()


def test_a_network_may_give_its_loss_more_than_logits_in_training(batches):
    class WithExtra(LightUNet3d):
        def forward(self, image):
            logits = super().forward(image)
            return (logits, logits.mean()) if self.training else logits

    def loss(prediction, target):
        logits, extra = prediction
        assert extra.dtype == torch.float32
        return LOSS(logits, target) + 0 * extra

    network = WithExtra(channels=(4, 8))
    optimizer = torch.optim.AdamW(network.parameters())
    trainer = RoiTrainer("cpu", 1, batches, network, optimizer, loss, "bf16", decollate=False)
    trainer.run()
    assert trainer.state.iteration == 6


def test_weights_move_and_stay_finite(batches):
    trainer = trainer_of(batches, epochs=1)
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    trainer.run()
    for name, parameter in trainer.network.named_parameters():
        assert torch.isfinite(parameter).all(), name
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_few_iterations_on_cuda_lower_the_loss(batches, precision):
    losses = losses_of(trainer_of(batches, precision, epochs=4, device="cuda"))
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])
