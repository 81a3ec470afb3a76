"""Several processes that train one network as one process would with all their patches in its batch.

In: a network on this process's device, after `torch.distributed` is initialised. Out: the network whose gradients and
batch statistics are those of the global batch. On CUDA the parts are torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


class _Summed(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = _Summed.apply(gradient)  # type: ignore[no-untyped-call]
        return summed


class GlobalBatchNorm3d(nn.BatchNorm3d):
    """BatchNorm3d whose mean and variance are of the patches of every process; torch's SyncBatchNorm knows GPUs only.

    Every process must have as many patches. Outside training, or alone, it is BatchNorm3d; the state dict is the same.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, C, X, Y, Z) -> the same, normalised."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(features)
        x = features.float()
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _Summed.apply(x.sum(dim=(0, 2, 3, 4))) / count  # type: ignore[no-untyped-call]
        centred = x - mean[:, None, None, None]
        variance = _Summed.apply((centred**2).sum(dim=(0, 2, 3, 4))) / count  # type: ignore[no-untyped-call]
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        normed = centred * torch.rsqrt(variance + self.eps)[:, None, None, None]
        if self.affine:
            normed = normed * self.weight[:, None, None, None] + self.bias[:, None, None, None]
        result: torch.Tensor = normed.to(features.dtype)
        return result

    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            part = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.to(self.running_mean), part)
            self.running_var.lerp_(variance.to(self.running_var), part)


def share_network(network: nn.Module, device: torch.device) -> nn.parallel.DistributedDataParallel:
    """The network as all processes train it together: averaged gradients, batch statistics of the global batch.

    Args:
        network: on `device`; the weights of rank 0 are taken by all. Its memory format becomes channels last, the one
            of `StepPlan`.
        device: CUDA with NCCL, or CPU with Gloo.
    """
    # Before the wrapper, which keeps views of the weights: changed after it, torch 2.13 reduces wrong gradients.
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return nn.parallel.DistributedDataParallel(network, device_ids=[device])
    return nn.parallel.DistributedDataParallel(_with_global_norms(network))


def _with_global_norms(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm3d) and not isinstance(child, GlobalBatchNorm3d):
            shared = GlobalBatchNorm3d(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            shared.load_state_dict(child.state_dict())
            shared.to(next(iter(child.state_dict().values()), torch.empty(0)).device).train(child.training)
            setattr(module, name, shared)
        else:
            _with_global_norms(child)
    return module
