"""A residual block for a CPU: sum and activations happen inside the convolutions, not in passes of their own.

In: convolutions whose norms are folded away. Out: what `ResidualBlock` computes with them. Knows no network.

oneDNN's convolution can add another tensor to what it computes, and clamp it at 0, before it writes it: the post-ops
that PyTorch's own compiler uses. What is left out are passes over all features that cost half as much as the
convolutions, because memory is slow.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from lungseg3d.tensors import convolved_in_fp32, is_too_small_for_bf16

_DTYPES = (torch.float32, torch.bfloat16)


class FusedResidualBlock(nn.Module):
    """Three convolutions in `eval()`, or two where the skip has none; right also for images of few voxels.

    Args:
        first, second: the second's result joins the skip.
        skip: None passes the features on as they are.
    """

    takes_any_size = True

    def __init__(self, first: nn.Conv3d, second: nn.Conv3d, skip: nn.Conv3d | None) -> None:
        super().__init__()
        self.first, self.second, self.skip = first, second, skip

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """features (B, in, x, y, z) -> (B, out, x / stride, y / stride, z / stride)."""
        features = features.to(self.first.weight.dtype)
        if features.dtype == torch.bfloat16 and self._is_too_small(features):
            return self._in_fp32(features)
        convolution = torch.ops.mkldnn._convolution_pointwise
        inner = convolution(features, *_words(self.first), "relu", [], "")
        words = (*_words(self.second), "add", 1.0, "relu", [], "")
        if self.skip is None:
            joined: torch.Tensor = convolution.binary(inner, features, *words)
            return joined
        aside = convolution(features, *_words(self.skip), "none", [], "")
        written: torch.Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(aside, inner, *words)
        return written

    def _is_too_small(self, features: torch.Tensor) -> bool:
        x, y, z = self.first.stride
        inner = features[..., ::x, ::y, ::z]
        asked = (features, self.first.weight, self.first.stride), (inner, self.second.weight)
        return any(is_too_small_for_bf16(*one) for one in asked)

    def _in_fp32(self, features: torch.Tensor) -> torch.Tensor:
        aside = features.float() if self.skip is None else convolved_in_fp32(self.skip, features)
        residual = convolved_in_fp32(self.second, convolved_in_fp32(self.first, features).relu_())
        return residual.add_(aside).relu_().to(features.dtype)


def can_fuse(*modules: nn.Module) -> bool:
    """Whether all convolutions of modules are ones that oneDNN takes, and no norm is left beside them.

    False where PyTorch was built without oneDNN, and in bf16 where its operators need a processor with AVX-512.
    """
    layers = [layer for module in modules for layer in module.modules()]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv3d)]
    on_cpu = all(c.weight.device.type == "cpu" for c in convolutions)
    return (
        on_cpu
        and not any(isinstance(layer, nn.BatchNorm3d) for layer in layers)
        and all(c.bias is not None and c.weight.dtype in _DTYPES for c in convolutions)
        and all(_is_there(dtype) for dtype in {c.weight.dtype for c in convolutions})
    )


def _words(convolution: nn.Conv3d) -> tuple[Any, ...]:
    """Weights and geometry, as the operators take them."""
    c = convolution
    return c.weight, c.bias, list(c.padding), list(c.stride), list(c.dilation), c.groups


@functools.cache
def _is_there(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has the operators here, and they say what a convolution says; builds differ by machine."""
    steps = torch.linspace(-1, 1, 2 * 2 * 27)
    weight, features = steps.reshape(2, 2, 3, 3, 3), torch.linspace(-1, 1, 2 * 64).reshape(1, 2, 4, 4, 4)
    cast, given = (t.to(dtype=dtype, memory_format=torch.channels_last_3d) for t in (weight, features))
    words = cast, torch.ones(2, dtype=dtype), [1, 1, 1], [1, 1, 1], [1, 1, 1], 1
    try:
        with torch.no_grad():
            one = torch.ops.mkldnn._convolution_pointwise(given, *words, "relu", [], "")
            both = torch.ops.mkldnn._convolution_pointwise_.binary(
                given.clone(), given, *words, "add", 1.0, "relu", [], ""
            )
    except (AttributeError, RuntimeError):
        return False
    expected = nn.functional.conv3d(features, weight, torch.ones(2), padding=1)
    most = 1e-4 if dtype == torch.float32 else 0.1  # values up to 15, rounded to 8 bits
    return torch.allclose(one.float(), expected.relu(), atol=most) and torch.allclose(
        both.float(), (expected + features).relu(), atol=most
    )
