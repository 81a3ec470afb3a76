"""Mixed precision by name, on CUDA and on CPU.

In: a precision name and a device. Out: the autocast context to run a network in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from lungseg3d.tensors.capability import is_right_here

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """`auto` becomes `bf16` where the device multiplies bfloat16 in hardware and rightly, else `fp32`; others stay.

    Raises:
        ValueError: a name that is none of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if torch.device(device).type != "cpu":
        return "fp32"
    # Without AVX-512 BF16 or AMX units, bf16 on a CPU is emulated and slower than fp32. Flags alone are not believed.
    has_bf16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if has_bf16 and torch.cpu._is_avx512_bf16_supported() and is_right_here("bf16") else "fp32"


def autocast_for(precision: str, device: torch.device | str) -> AbstractContextManager[Any]:
    """The context in which a forward pass has this precision; nothing for `fp32`.

    On a CPU, bf16 leaves convolutions of few voxels in fp32: see `is_too_small_for_bf16`.
    """
    name = resolve_precision(precision, device)
    if name == "fp32":
        return nullcontext()
    autocast = torch.autocast(torch.device(device).type, dtype=_DTYPES[name])
    return _bf16_on_cpu(autocast) if name == "bf16" and torch.device(device).type == "cpu" else autocast


def is_too_small_for_bf16(
    image: torch.Tensor, weight: torch.Tensor, stride: int | Sequence[int] = 1, is_training: bool = False
) -> bool:
    """Whether a 3D convolution of few voxels would be wrong in bf16 on a CPU.

    There torch 2.13 (oneDNN, AVX-512 and AMX) reads and writes beyond its memory where a kernel is large for the image:
    what comes out is random, often infinite, and the process may die. Found by trying 28,000 shapes and strides, and
    gradients of some hundred: strided convolutions are right from twice the kernel's size on, and so are gradients of
    the weights; others from its size on; kernels of 7 are never taken. PyTorch knows of the like (issue 169688).

    Args:
        image: (B, C, X, Y, Z).
        weight: (C_out, C / groups, kx, ky, kz).
        stride: of the convolution.
        is_training: a gradient will be asked for.
    """
    side = max(weight.shape[2:])
    is_strided = (stride if isinstance(stride, int) else max(stride)) > 1
    least = 2 * side if is_strided or is_training else side
    return side > 1 and (side >= 7 or min(image.shape[-3:]) < least)


def convolved_in_fp32(convolution: torch.nn.Conv3d, features: torch.Tensor) -> torch.Tensor:
    """What a convolution makes of features (B, in, X, Y, Z), in fp32 whatever types they and its weights have."""
    c, bias = convolution, convolution.bias
    weights = c.weight.float(), None if bias is None else bias.float()
    return torch.nn.functional.conv3d(features.float(), *weights, c.stride, c.padding, c.dilation, c.groups)


class _SmallConvolutionsInFp32(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is not torch.conv3d:
            return func(*args, **kwargs)
        given = {**dict(zip(("input", "weight", "bias", "stride"), args, strict=False)), **kwargs}
        asked = given["input"], given["weight"], given.get("stride", 1)
        if not is_too_small_for_bf16(*asked, is_training=torch.is_grad_enabled()):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_fp32, args), **{key: _fp32(value) for key, value in kwargs.items()})


def _fp32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value


@contextmanager
def _bf16_on_cpu(autocast: AbstractContextManager[Any]) -> Iterator[None]:
    with autocast, _SmallConvolutionsInFp32():
        yield
