"""A small convolution computed by one backend in one precision, and held against the same one in float64.

In: names of a backend and a precision. Out: nothing, or a `TrialError` that says what went wrong. Also the program of a
child process (see `capability`), where an instruction that the processor lacks ends only the child. Imports nothing of
this project, because importing MONAI takes seconds.

    python trial.py BACKEND PRECISION
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OPENVINO_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
MOST_TIMES_FP32 = 6
"""A precision that takes more CPU time than so many times fp32's is emulated, and of no use."""
_CHANNELS = 32
_SHAPE = (8, 8, 4)
_IMAGE_SHAPE = (16, 16, 16)
# For a time, as large as it takes: PyTorch gives fp32 to oneDNN only where channels and the first two sides multiply to
# more than 20,480.
_TIMED_SHAPE = (26, 26, 4)
# Of the norm of the result: several roundings of 8 or 11 bits (TF32 on a GPU); what is wrong is far off.
_TOLERANCES = {"fp32": 5e-3, "bf16": 2e-2, "fp16": 5e-3}


class TrialError(Exception):
    """The result is wrong, of another precision, or takes too long."""


def try_torch(precision: str, device: torch.device | str = "cpu", is_timed: bool = False) -> None:
    """Convolve with PyTorch, with weights of the precision and by autocast.

    Args:
        precision: `fp32`, `bf16` or `fp16`.
        device: where.
        is_timed: refuse what takes more than `MOST_TIMES_FP32`; sensible with one thread only.

    Raises:
        TrialError: as above.
        RuntimeError: of PyTorch.
    """
    dtype = DTYPES[precision]
    weight, bias, image = _tensors(_TIMED_SHAPE if is_timed else _SHAPE, device)
    expected = _convolved(weight.double().cpu(), bias.double().cpu(), image.double().cpu())
    cast = weight.to(dtype), bias.to(dtype), image.to(dtype)
    with torch.no_grad():
        _check(_convolved(*cast), expected, precision)
        if precision == "fp32":
            return
        with torch.autocast(torch.device(device).type, dtype=dtype):
            _check(_convolved(weight, bias, image), expected, precision)
        if is_timed:
            _check_time(_cpu_s(lambda: _convolved(*cast)), _cpu_s(lambda: _convolved(weight, bias, image)))


def try_compile(precision: str) -> None:
    """Convolve by PyTorch's compiler; raises as `try_torch`, and whatever the compiler does."""
    network, image = _Network(), _image()
    # As networks are compiled here. With weights as arguments, or images of several channels, torch 2.13 goes wrong on
    # some processors, and may damage its memory.
    compiled = torch.compile(type(network).forward, dynamic=False)
    with torch.no_grad(), torch.autocast("cpu", dtype=DTYPES[precision], enabled=precision != "fp32"):
        result = compiled(network, image)
    _check(result, network.double()(image.double()), precision)


def try_openvino(precision: str) -> None:
    """Convolve by OpenVINO; raises as `try_torch`, and whatever OpenVINO does."""
    import openvino

    network, image = _Network(), _image()
    traced = torch.jit.trace(network, image, check_trace=False)
    hint = OPENVINO_PRECISIONS[precision]
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(openvino.convert_model(traced, example_input=image), "CPU", settings)
    taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    # OpenVINO says nothing when it computes in a precision that was not asked for.
    if taken != hint:
        raise TrialError(f"it computes in {taken} here")
    (result,) = compiled([image.numpy()]).values()
    _check(torch.from_numpy(result), network.double()(image.double()), precision)


TRIALS: dict[str, Callable[[str], None]] = {
    "torch": lambda precision: try_torch(precision, is_timed=True),
    "compile": try_compile,
    "openvino": try_openvino,
}


class _Network(nn.Module):
    """Two convolutions of an image of one channel, as networks here begin."""

    def __init__(self) -> None:
        super().__init__()
        weight, bias, _ = _tensors(_SHAPE)
        self.first = nn.Parameter(weight[:, :1].contiguous(), requires_grad=False)
        self.second = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return _convolved(self.second, self.bias, _convolved(self.first, self.bias, image).relu())


def _image() -> torch.Tensor:
    return _waves((1, 1, *_IMAGE_SHAPE), 0.3, "cpu")


def _tensors(shape: tuple[int, int, int], device: torch.device | str = "cpu") -> tuple[torch.Tensor, ...]:
    """Weights, bias and features (1, C, X, Y, Z), the same ones every time; no random state is touched."""
    weight = _waves((_CHANNELS, _CHANNELS, 3, 3, 3), 0.7, device)
    return weight, _waves((_CHANNELS,), 0.5, device), _waves((1, _CHANNELS, *shape), 0.3, device)


def _waves(shape: tuple[int, ...], step: float, device: torch.device | str) -> torch.Tensor:
    waves = torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64) ** 1.1).float().reshape(shape)
    return waves.to(device, memory_format=torch.channels_last_3d if len(shape) == 5 else torch.preserve_format)


def _convolved(weight: torch.Tensor, bias: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    return nn.functional.conv3d(image, weight, bias, padding=1)


def _check(result: torch.Tensor, expected: torch.Tensor, precision: str) -> None:
    if result.shape != expected.shape:
        raise TrialError(f"the result has the shape {tuple(result.shape)} instead of {tuple(expected.shape)}")
    error = float((result.cpu().double() - expected).norm() / expected.norm())
    if not error <= _TOLERANCES[precision]:  # NaN is wrong, too
        raise TrialError(f"the result is wrong: {error:.2g} of its norm off, {_TOLERANCES[precision]:g} is expected")


def _cpu_s(work: Callable[[], object], times: int = 2) -> float:
    """CPU seconds, the least of several: the clock on the wall counts other programs, too."""
    least = float("inf")
    for _ in range(times):
        begin = time.process_time()
        work()
        least = min(least, time.process_time() - begin)
    return least


def _check_time(taken_s: float, fp32_s: float) -> None:
    times = taken_s / max(fp32_s, 1e-6)
    if times > MOST_TIMES_FP32:
        raise TrialError(f"it is emulated, {times:.0f} times as slow as fp32")


def main(backend: str, precision: str) -> int:
    """Try one way; exit code 0, or 1 with the reason in the last line of stderr."""
    torch.set_num_threads(1)
    try:
        TRIALS[backend](precision)
    except TrialError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        said = (str(error).strip() or "no reason given").splitlines()[0]
        print(f"{type(error).__name__}: {said}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
