"""The Ignite engine: batches of ROI sub-volumes through network and loss, in mixed precision on CUDA and on CPU.

In: a RoiSampler (or any loader of {"image", "label"} batches), network, optimiser, loss. Out: a MONAI trainer, to which
every MONAI and Ignite handler attaches. Knows no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import CommonKeys as Keys
from monai.engines.utils import IterationEvents
from torch.nn.utils import clip_grad_norm_

from lungseg3d.core import BundleError, TrainingError
from lungseg3d.engines.training.step_plan import StepPlan
from lungseg3d.tensors import autocast_for, resolve_precision


class RoiTrainer(SupervisedTrainer):
    """MONAI's SupervisedTrainer with mixed precision by name, on CPU too, clipping, and an end where a loss has none.

    Args:
        device, max_epochs, train_data_loader, network, optimizer, loss_function: as in MONAI.
        plan: precision, accumulation, clipping and the like; None for the defaults.
        **kwargs: anything else that SupervisedTrainer takes. `decollate` is False unless given: nothing here wants the
            patches of a batch one by one.

    Running it raises TrainingError E_LOSS_NOT_FINITE within one iteration of a loss or gradient that is NaN or
    infinite, before the end of the epoch, so no checkpoint of an epoch holds what came of it; and BundleError
    E_CLASS_COUNT for a label that the network has no class for.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: Iterable[Any],
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_function: Any,
        plan: StepPlan | None = None,
        **kwargs: Any,
    ) -> None:
        self.plan = plan or StepPlan()
        self.precision = resolve_precision(self.plan.precision, device)
        self.memory_format = torch.channels_last_3d if self.plan.channels_last else torch.contiguous_format
        # Weights of DistributedDataParallel must keep their strides; `share_network` has seen to them.
        if not isinstance(network, torch.nn.parallel.DistributedDataParallel):
            network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        super().__init__(
            device=torch.device(device),
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,
            compile=self.plan.compile,
            compile_kwargs=dict(self.plan.compile_options),
            accumulation_steps=self.plan.accumulation,
            **{"decollate": False, **kwargs},
        )
        self.scaler_ = torch.amp.GradScaler(torch.device(device).type, enabled=self.precision == "fp16")
        self._unchecked: _Noted | None = None
        memory = getattr(train_data_loader, "hard_negatives", None)
        if memory is not None:
            memory.attach(self)

    def steps_at(self, iteration: int) -> bool:
        """Whether the optimiser steps at this iteration, from 1: every `accumulation` batches and at an epoch's end."""
        length = self.state.epoch_length
        within = iteration if length is None else (iteration - 1) % length + 1
        return within % self.accumulation_steps == 0 or within == length

    def _iteration(self, engine: SupervisedTrainer, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        batch = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        inputs, targets, args, kwargs = batch if len(batch) == 4 else (*batch, (), {})
        engine.state.output = {Keys.IMAGE: inputs, Keys.LABEL: targets}
        inputs = inputs.to(memory_format=self.memory_format)
        engine.network.train()
        if engine.state.iteration == 1 or self.steps_at(engine.state.iteration - 1):
            engine.optimizer.zero_grad(set_to_none=True)
        with autocast_for(self.precision, engine.state.device):
            prediction = engine.inferer(inputs, engine.network, *args, **kwargs)
        engine.state.output[Keys.PRED] = prediction
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        self._check_classes(prediction, targets, batchdata)
        # The loss sums over many voxels, so it is taken in fp32.
        loss = engine.loss_function(_as_float(prediction), targets).mean()
        engine.state.output[Keys.LOSS] = loss
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        self._check_finite(loss.detach(), "loss", batchdata)
        self.scaler_.scale(loss / self.accumulation_steps).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.steps_at(engine.state.iteration):
            self._step(batchdata)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        outputs: dict[str, Any] = engine.state.output
        return outputs

    def _step(self, batchdata: Mapping[str, Any]) -> None:
        self.scaler_.unscale_(self.optimizer)
        limit = float("inf") if self.plan.max_gradient_norm is None else self.plan.max_gradient_norm
        norm = clip_grad_norm_(self.network.parameters(), limit)
        if not self.scaler_.is_enabled():  # the scaler expects infinite gradients, and leaves such a step out
            self._check_finite(norm, "gradient's norm", batchdata)
        self.scaler_.step(self.optimizer)
        self.scaler_.update()

    def _check_classes(self, prediction: Any, targets: torch.Tensor, batchdata: Mapping[str, Any]) -> None:
        """Raise for a label that the network has no class for; on a GPU, where to look is to wait, once an epoch."""
        length = self.state.epoch_length
        if targets.device.type != "cpu" and length is not None and (self.state.iteration - 1) % length:
            return
        logits = prediction if isinstance(prediction, torch.Tensor) else prediction[0]
        classes, highest = logits.shape[1], int(targets.max())
        if highest >= max(2, classes):
            raise BundleError(
                "E_CLASS_COUNT",
                f"epoch {self.state.epoch}, iteration {self.state.iteration}: a label is {highest}, the network has "
                f"{classes} classes, 0 to {classes - 1}, for a batch {_made_of(batchdata)}",
                "Map the label values when they are read (values of ReadLabelsd), or set out_channels in network_def.",
            )

    def _check_finite(self, value: torch.Tensor, what: str, batchdata: Mapping[str, Any]) -> None:
        """Raise for a value that is not finite: at once on a CPU, else at the next call or at the end of the epoch.

        To look at a value on a GPU is to wait for it, so by then the next work is under way.
        """
        where = f"epoch {self.state.epoch}, iteration {self.state.iteration}"
        waiting, self._unchecked = self._unchecked, _Noted(value, f"{where}: the {what}", _made_of(batchdata))
        if waiting is not None:
            waiting.check()
        length = self.state.epoch_length
        if value.device.type == "cpu" or (length is not None and self.state.iteration % length == 0):
            self._unchecked.check()
            self._unchecked = None


class _Noted(NamedTuple):
    """A value that must be finite, what it is, and what the batch was made of."""

    value: torch.Tensor
    what: str
    batch: str

    def check(self) -> None:
        if bool(torch.isfinite(self.value)):
            return
        raise TrainingError(
            "E_LOSS_NOT_FINITE",
            f"{self.what} is {float(self.value)} for a batch {self.batch}",
            "Look at these cases, or lower learning_rate, or train in fp32. The last checkpoint is from before: the "
            "same command goes on from it.",
        )


def _made_of(batchdata: Mapping[str, Any]) -> str:
    cases, groups = (list(batchdata.get(key, ())) for key in ("case_id", "group"))
    if groups and len(groups) == len(cases):
        cases = [f"{case} ({group})" for case, group in zip(cases, groups, strict=True)]
    return f"of {', '.join(map(str, cases))}" if cases else "whose cases have no names"


def _as_float(prediction: Any) -> Any:
    """Logits, or a tuple that begins with logits, in fp32."""
    if isinstance(prediction, (tuple, list)):
        return type(prediction)(p.float() for p in prediction)
    return prediction.float()
