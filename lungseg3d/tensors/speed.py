"""What this machine's arithmetic reaches at best, measured: the ceiling beside which networks are judged.

In: a device and a precision. Out: GFLOP/s. Knows no network.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_SIDE = {"cpu": 1536, "cuda": 8192}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def matmul_gflops(precision: str, device: torch.device | str = "cpu", seconds: float = 0.3) -> float:
    """GFLOP/s of multiplying two large square matrices, the best of several times, with PyTorch's own threads.

    Args:
        precision: `fp32`, `bf16` or `fp16`.
        device: where.
        seconds: how long to try, at least twice.
    """
    device = torch.device(device)
    side = _SIDE[device.type]
    a, b = (torch.randn(side, side, device=device).to(_DTYPES[precision]) for _ in range(2))
    return 2 * side**3 / 1e9 / best_seconds(lambda: a @ b, device, seconds)


def best_seconds(work: Callable[[], object], device: torch.device | str, seconds: float) -> float:
    """The shortest time of one run of `work`, after one that does not count; at least two, for `seconds` in all."""
    is_cuda = torch.device(device).type == "cuda"
    best, end = float("inf"), None
    with torch.no_grad():
        while end is None or time.perf_counter() < end or best == float("inf"):
            begin = time.perf_counter()
            work()
            if is_cuda:
                torch.cuda.synchronize(device)
            took = time.perf_counter() - begin
            if end is None:
                end = time.perf_counter() + seconds
            else:
                best = min(best, took)
    return best
