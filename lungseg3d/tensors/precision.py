"""Mixed precision by name, on CUDA and on CPU.

In: a precision name and a device. Out: the autocast context to run a network in.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """`auto` becomes `bf16` where the device multiplies bfloat16 in hardware, else `fp32`; others stay.

    Raises:
        ValueError: a name that is none of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    # Without AVX-512 BF16 or AMX units, bf16 on a CPU is emulated and slower than fp32.
    has_bf16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if has_bf16 and torch.cpu._is_avx512_bf16_supported() else "fp32"


def autocast_for(precision: str, device: torch.device | str) -> AbstractContextManager:
    """The context in which a forward pass has this precision; nothing for `fp32`."""
    name = resolve_precision(precision, device)
    if name == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=_DTYPES[name])
