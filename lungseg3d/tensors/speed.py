"""What this machine's arithmetic reaches at best, measured: the ceiling beside which networks are judged.

In: a device and a precision. Out: GFLOP/s. Knows no network.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from lungseg3d.tensors.trial import DTYPES

_SIDE = {"cpu": 1536, "cuda": 8192}
_CHANNELS, _IMAGE_SIDE = 64, 40


def ceiling_gflops(precision: str, device: torch.device | str = "cpu", seconds: float = 0.3) -> float:
    """GFLOP/s of a product of large matrices or of a large convolution, whichever is more.

    Some libraries multiply matrices slower than they convolve, such as MKL on processors of AMD.

    Args:
        precision, device, seconds: as in `matmul_gflops`; each of both is tried for so long.
    """
    product = matmul_gflops(precision, device, seconds)
    return max(product, convolution_gflops(precision, seconds)) if torch.device(device).type == "cpu" else product


def convolution_gflops(precision: str, seconds: float = 0.3) -> float:
    """GFLOP/s of a 3 x 3 x 3 convolution from 64 to 64 channels on the CPU, with PyTorch's own threads."""
    n, dtype = _CHANNELS, DTYPES[precision]
    weight, image = torch.randn(n, n, 3, 3, 3), torch.randn(1, n, *3 * (_IMAGE_SIDE,))
    weight, image = (t.to(dtype=dtype, memory_format=torch.channels_last_3d) for t in (weight, image))
    gflop = 2 * n * n * 27 * _IMAGE_SIDE**3 / 1e9
    return gflop / best_seconds(lambda: torch.conv3d(image, weight, padding=1), "cpu", seconds)


def matmul_gflops(precision: str, device: torch.device | str = "cpu", seconds: float = 0.3) -> float:
    """GFLOP/s of multiplying two large square matrices, the best of several times, with PyTorch's own threads.

    Args:
        precision: `fp32`, `bf16` or `fp16`.
        device: where.
        seconds: how long to try, at least twice.
    """
    device = torch.device(device)
    side = _SIDE.get(device.type, _SIDE["cpu"])
    a, b = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
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
