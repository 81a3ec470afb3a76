"""A trained network -> its copy for a CPU: batch norms gone into the convolutions before them, blocks fused.

In: a network. Out: another that says the same, for less. Knows no network by name.

A batch norm that has learnt is one factor and one summand a channel, which a convolution's own weights can hold
(`torch.nn.utils.fusion`). A pass over all features less after each convolution is a fifth of the time of `LightUNet3d`.
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def folded(network: nn.Module, precision: str) -> nn.Module | None:
    """A copy for inference; None where there is nothing to fold.

    Args:
        network: any; what it has of `nn.Conv3d` followed by `nn.BatchNorm3d` in an `nn.Sequential` is folded.
        precision: `fp32`, `bf16` or `fp16`: the type of the convolutions' weights, so that autocast need not turn them
            into it at every call.
    """
    if not any(_pairs(module) for module in network.modules()):
        return None
    copied = copy.deepcopy(network).eval()
    for layers in list(copied.modules()):
        for i in _pairs(layers):
            layers[i], layers[i + 1] = fuse_conv_bn_eval(layers[i], layers[i + 1]), nn.Identity()  # type: ignore[index, operator]
    for module in copied.modules():
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            module.to(dtype=_DTYPES[precision], memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    copied.requires_grad_(False)
    for module in list(copied.modules()):
        for name, block in module.named_children():
            # Blocks know themselves how their parts become one.
            if hasattr(block, "fused") and (fused := block.fused()) is not None:
                setattr(module, name, fused)
    return copied


def _pairs(module: nn.Module) -> list[int]:
    """Where in a sequence a convolution stands before a norm that has learnt."""
    if not isinstance(module, nn.Sequential):
        return []
    layers = list(module)
    return [
        i
        for i, (layer, norm) in enumerate(itertools.pairwise(layers))
        if isinstance(layer, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d) and norm.track_running_stats
    ]
