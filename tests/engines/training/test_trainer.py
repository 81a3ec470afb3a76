"""RoiTrainer: it learns, in every precision, with MONAI's handlers attached."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from ignite.engine import Events
from monai.engines import Evaluator
from monai.handlers import CheckpointSaver, StatsHandler, ValidationHandler, from_engine
from monai.losses import DiceCELoss

from lungseg3d.engines import RoiSampler, RoiTrainer, SourceGroup, StepPlan
from lungseg3d.engines.training.identity import bare
from lungseg3d.networks import LightUNet3d

LOSS = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)


@pytest.fixture(scope="module")
def batches() -> RoiSampler:
    """Bright blocks in the dark, labelled where they are bright."""
    image = torch.full((1, 24, 24, 24), -900, dtype=torch.int16)
    image[:, 8:16, 8:16, 8:16] = 100
    case = {"image": image, "label": (image > 0).to(torch.uint8)}
    return RoiSampler([SourceGroup("a", [case])], patch_size=16, batch_size=2, batches_per_epoch=6)


def trainer_of(
    batches, precision="fp32", epochs=2, device="cpu", rate=0.01, loss=LOSS, handlers=(), **plan
) -> RoiTrainer:
    torch.manual_seed(0)
    network = LightUNet3d(channels=(4, 8)).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    steps = StepPlan(precision, **plan)
    return RoiTrainer(device, epochs, batches, network, optimizer, loss, steps, train_handlers=handlers)


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
    trainer = trainer_of(batches, epochs=4, handlers=handlers)
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
    trainer = RoiTrainer("cpu", 1, batches, network, optimizer, loss, StepPlan("bf16"))
    trainer.run()
    assert trainer.state.iteration == 6


def test_weights_move_and_stay_finite(batches):
    trainer = trainer_of(batches, epochs=1)
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    trainer.run()
    for name, parameter in trainer.network.named_parameters():
        assert torch.isfinite(parameter).all(), name
        assert not torch.equal(parameter, before[name]), name


class Halves:
    """The batches of another loader, each in two halves."""

    def __init__(self, batches) -> None:
        self.batches = batches

    def __len__(self):
        return 2 * len(self.batches)

    def __iter__(self):
        for batch in self.batches:
            for half in (slice(0, 1), slice(1, 2)):
                yield {key: batch[key][half] for key in ("image", "label")}


def test_two_half_batches_make_the_step_of_a_whole_one(batches):
    fixed = [batches.batch() for _ in range(2)]
    trained = []
    for loader, accumulation in ((fixed, 1), (Halves(fixed), 2)):
        torch.manual_seed(0)
        network = torch.nn.Conv3d(1, 2, 3, padding=1)  # without batch statistics, which know their own batch alone
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        RoiTrainer("cpu", 1, loader, network, optimizer, LOSS, StepPlan("fp32", accumulation)).run()
        trained.append(network)
    for one, other in zip(trained[0].parameters(), trained[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_steps_are_taken_every_few_batches_and_at_the_end_of_an_epoch(batches):
    trainer = trainer_of(batches, accumulation=4)  # 6 batches an epoch
    assert [i for i in range(1, 13) if trainer.steps_at(i)] == [4, 6, 10, 12]
    steps = []
    trainer.optimizer.register_step_post_hook(lambda *_: steps.append(trainer.state.iteration))
    trainer.run()
    assert steps == [4, 6, 10, 12]


def test_a_compiled_network_learns_the_same_and_keeps_its_names(batches):
    fixed = [batches.batch() for _ in range(2)]
    plain = trainer_of(fixed, epochs=1)
    compiled = trainer_of(fixed, epochs=1, compile=True, compile_options={"backend": "eager"})
    network = compiled.optimizer.param_groups[0]["params"]
    plain.run()
    compiled.run()
    assert compiled.network is not bare(compiled.network)
    assert list(bare(compiled.network).state_dict()) == list(plain.network.state_dict())
    for one, other in zip(plain.network.parameters(), network, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("wrong", [{"precision": "fp8"}, {"accumulation": 0}, {"max_gradient_norm": 0.0}])
def test_a_plan_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        StepPlan(**wrong)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_few_iterations_on_cuda_lower_the_loss(batches, precision):
    losses = losses_of(trainer_of(batches, precision, epochs=4, device="cuda"))
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])
