"""Residual blocks for a CPU: sum and activations happen inside the convolutions, not in passes of their own.

In: a network whose norms are folded away. Out: the same one with faster blocks. Knows no network by name.

oneDNN's convolution can add another tensor to what it computes, and clamp it at 0, before it writes it: the post-ops
that PyTorch's own compiler uses. What is left out are passes over all features that cost as much as half of the
convolutions, because memory is slow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lungseg3d.networks.residual import ResidualBlock

_DTYPES = (torch.float32, torch.bfloat16)


def fuse_blocks(network: nn.Module) -> None:
    """Replace every `ResidualBlock` whose norms are folded away; nothing where PyTorch was built without oneDNN."""
    if not _is_there():
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, ResidualBlock) and FusedResidualBlock.takes(child):
                setattr(module, name, FusedResidualBlock(child))


class FusedResidualBlock(nn.Module):
    """What a `ResidualBlock` in `eval()` computes, by three calls or two."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.first, self.second = _convolutions(block.convolutions)
        self.skip = next(iter(_convolutions(block.skip)), None)

    @staticmethod
    def takes(block: ResidualBlock) -> bool:
        """Whether a block has its convolutions with biases, and no norm any more."""
        convolutions = [*_convolutions(block.convolutions), *_convolutions(block.skip)]
        return all(c.bias is not None and c.weight.dtype in _DTYPES for c in convolutions) and not any(
            isinstance(module, nn.BatchNorm3d) for module in block.modules()
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """features (B, in, x, y, z) -> (B, out, x / stride, y / stride, z / stride)."""
        features = features.to(self.first.weight.dtype)
        inner = torch.ops.mkldnn._convolution_pointwise(features, *_words(self.first), "relu", [], "")
        words = (*_words(self.second), "add", 1.0, "relu", [], "")
        if self.skip is None:
            return torch.ops.mkldnn._convolution_pointwise.binary(inner, features, *words)
        aside = torch.ops.mkldnn._convolution_pointwise(features, *_words(self.skip), "none", [], "")
        return torch.ops.mkldnn._convolution_pointwise_.binary(aside, inner, *words)


def _convolutions(module: nn.Module) -> list[nn.Conv3d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv3d)]


def _words(convolution: nn.Conv3d) -> tuple[Any, ...]:
    """Weights and geometry, as the operators take them."""
    c = convolution
    return c.weight, c.bias, list(c.padding), list(c.stride), list(c.dilation), c.groups  # type: ignore[arg-type]


def _is_there() -> bool:
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_convolution_pointwise", "_convolution_pointwise_")
    )
