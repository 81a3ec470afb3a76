"""What this machine computes, found by trial: a backend in a precision, or why it cannot.

In: names of a backend, a precision and a device. Out: an obstacle in words, or none. Each is tried once in a process.
Flags of the processor are no answer: they say nothing about emulation, virtual machines or a library's own faults.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import torch

from lungseg3d.core.errors import hide_paths, one_line
from lungseg3d.tensors.trial import TrialError, try_torch

_PROGRAM = Path(__file__).with_name("trial.py")
_LONGEST_S = 300.0
_MOST_CHARACTERS = 200
# One thread: the trial compares CPU times, and other programs may have the other cores.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONSAFEPATH": "1"}
_found: dict[tuple[str, str, str], str] = {}
_lock = threading.Lock()


def obstacle_to(backend: str, precision: str, device: torch.device | str = "cpu") -> str:
    """Why this machine does not compute so; empty where it does.

    On a CPU a child process convolves, which takes 3 CPU seconds (a compiler 10), mostly for importing PyTorch: an
    instruction that the processor lacks would end this process. Drivers of other devices raise errors instead, so there
    the trial is made here.

    Args:
        backend: `torch`, `compile` or `openvino`; on other devices than a CPU it is tried as `torch`.
        precision: `fp32`, `bf16` or `fp16`.
        device: where.
    """
    device = torch.device(device)
    key = (backend, precision, str(device)) if device.type == "cpu" else ("torch", precision, str(device))
    with _lock:
        if key not in _found:
            is_cpu = device.type == "cpu"
            _found[key] = _obstacle_in_child(backend, precision) if is_cpu else _obstacle_here(precision, device)
        return _found[key]


def is_right_here(precision: str) -> bool:
    """Whether PyTorch's convolution in this precision gives the right numbers in this process, on its CPU.

    Takes 10 ms. For a precision that the processor and PyTorch say they have, where no crash is to be expected; what is
    right counts as tried.
    """
    key = ("torch", precision, "cpu")
    with _lock:
        if key in _found:
            return not _found[key]
        obstacle = _obstacle_here(precision, torch.device("cpu"))
        if not obstacle:
            _found[key] = ""
        return not obstacle


def _obstacle_here(precision: str, device: torch.device) -> str:
    try:
        try_torch(precision, device)
    except (TrialError, RuntimeError, TypeError, NotImplementedError) as error:  # CUDA and MPS raise any of these
        return _shown(str(error))
    return ""


def _obstacle_in_child(backend: str, precision: str) -> str:
    words = [sys.executable, str(_PROGRAM), backend, precision]
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"a trial had no end after {_LONGEST_S:g} s"
    except OSError as error:
        return _shown(f"a trial cannot be started: {error}")
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        known = -done.returncode in set(signal.Signals)
        return f"a trial was ended by {signal.Signals(-done.returncode).name if known else -done.returncode}"
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return _shown(lines[-1] if lines else f"a trial ended with exit code {done.returncode}")


def _shown(text: str) -> str:
    """The first line without paths, as it goes into an error's message."""
    text = one_line(hide_paths(text.strip().splitlines()[0] if text.strip() else "no reason given"))
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + " ..."
