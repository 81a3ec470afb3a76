"""The Ignite engine: batches of ROI sub-volumes through network and loss, in mixed precision on CUDA and on CPU.

In: a RoiSampler (or any loader of {"image", "label"} batches), network, optimiser, loss. Out: a MONAI trainer, to which
every MONAI and Ignite handler attaches. Knows no file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import CommonKeys as Keys
from monai.engines.utils import IterationEvents
from torch.nn.utils import clip_grad_norm_

from lungseg3d.tensors import autocast_for, resolve_precision


class RoiTrainer(SupervisedTrainer):
    """MONAI's SupervisedTrainer with mixed precision by name, on CPU too, and gradient clipping.

    Args:
        device, max_epochs, train_data_loader, network, optimizer, loss_function: as in MONAI.
        precision: `auto`, `fp32`, `bf16` or `fp16`; gradients are scaled for `fp16` only, where they need it.
        max_gradient_norm: gradients are clipped to this total norm; None does not clip.
        channels_last: memory format of network and images; the fast one for 3D convolutions on CPU and tensor cores.
        **kwargs: anything else that SupervisedTrainer takes.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: Iterable,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_function: Any,
        precision: str = "auto",
        max_gradient_norm: float | None = 12.0,
        channels_last: bool = True,
        **kwargs: Any,
    ) -> None:
        self.precision = resolve_precision(precision, device)
        self.max_gradient_norm = max_gradient_norm
        self.memory_format = torch.channels_last_3d if channels_last else torch.contiguous_format
        network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        super().__init__(
            device=torch.device(device),
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=loss_function,
            **kwargs,
        )
        self.scaler_ = torch.amp.GradScaler(torch.device(device).type, enabled=self.precision == "fp16")

    def _iteration(self, engine: SupervisedTrainer, batchdata: dict[str, torch.Tensor]) -> dict:
        batch = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        inputs, targets, args, kwargs = batch if len(batch) == 4 else (*batch, (), {})
        engine.state.output = {Keys.IMAGE: inputs, Keys.LABEL: targets}
        inputs = inputs.to(memory_format=self.memory_format)
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with autocast_for(self.precision, engine.state.device):
            prediction = engine.inferer(inputs, engine.network, *args, **kwargs)
        engine.state.output[Keys.PRED] = prediction
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        # The loss sums over many voxels, so it is taken in fp32.
        loss = engine.loss_function(_as_float(prediction), targets).mean()
        engine.state.output[Keys.LOSS] = loss
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        self.scaler_.scale(loss).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.max_gradient_norm is not None:
            self.scaler_.unscale_(engine.optimizer)
            clip_grad_norm_(engine.network.parameters(), self.max_gradient_norm)
        self.scaler_.step(engine.optimizer)
        self.scaler_.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output


def _as_float(prediction: Any) -> Any:
    """Logits, or a tuple that begins with logits, in fp32."""
    if isinstance(prediction, (tuple, list)):
        return type(prediction)(p.float() for p in prediction)
    return prediction.float()
