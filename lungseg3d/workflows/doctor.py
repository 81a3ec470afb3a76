"""`doctor`: what this machine can do for the networks, measured, and what `auto` makes of it.

In: nothing. Out: `Diagnosis`: facts, and the speed of every backend and precision that is there.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from lungseg3d.core import BundleError
from lungseg3d.core.errors import one_line
from lungseg3d.core.progress import OnProgress
from lungseg3d.inference import Plan, choose, has_openvino, open_bundle, predictor_of, shipped_bundle
from lungseg3d.networks.cost import gflop_of
from lungseg3d.tensors import best_seconds, ceiling_gflops, obstacle_to

WINDOW = 96
_WAYS = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("torch", "fp16"),
    ("compile", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
)
_FLAGS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI (int8)",
    "avx512_bf16": "AVX-512 BF16",
    "amx_bf16": "AMX BF16",
    "amx_int8": "AMX int8",
}


_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS")
"""Variables by which libraries use less of a processor than there is."""
# What the bundle's configuration would choose by itself is chosen here way by way.
_PLAIN = {"precision": "fp32", "backend": "torch"}


@dataclass(frozen=True)
class Speed:
    """One way to run the nodule network.

    Attributes:
        backend, precision, device: the way.
        windows_per_s: windows of 96 x 96 x 96 voxels a second; None where it does not run here.
        gflops: what the network reaches, in GFLOP/s.
        ceiling_gflops: the most that was reached in this precision there: by large matrices or a large convolution in
            PyTorch, or by this network. None where PyTorch does not compute it.
        note: why it does not run or was not measured, else empty.
    """

    backend: str
    precision: str
    device: str
    windows_per_s: float | None
    gflops: float | None
    ceiling_gflops: float | None
    note: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        facts: name and value of what the machine is and has, for people.
        speeds: every way that was tried.
        plan: what `auto` takes.
        advice: what would make it faster; may be empty.
    """

    facts: tuple[tuple[str, str], ...]
    speeds: tuple[Speed, ...]
    plan: Plan
    advice: tuple[str, ...]


def doctor(seconds: float = 2.0, on_progress: OnProgress | None = None) -> Diagnosis:
    """Look at this machine, try every way to run the shipped nodule network, and measure those that work.

    Args:
        seconds: how long each way is tried.
        on_progress: called with "", what is tried, and the part done.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = open_bundle(shipped_bundle("lung_nodule_ct_segmentation"), roi="full", skip=1, **_PLAIN).network
    ceilings: dict[tuple[str, str], float | None] = {}
    speeds = []
    for number, (backend, precision) in enumerate(_WAYS):
        if on_progress:
            on_progress("", f"trying {backend} {precision}", number / len(_WAYS))
        where = "cpu" if backend == "openvino" else device
        if (precision, where) not in ceilings:
            is_there = not obstacle_to("torch", precision, where)
            ceilings[precision, where] = ceiling_gflops(precision, where, min(seconds, 0.5)) if is_there else None
        speeds.append(_speed(network, backend, precision, where, seconds))
    plan = choose("auto", "auto", device)
    return Diagnosis(tuple(_facts()), tuple(_beside(ceilings, speeds)), plan, tuple(_advice(plan, speeds)))


def _speed(network: torch.nn.Module, backend: str, precision: str, device: str, seconds: float) -> Speed:
    unknown = Speed(backend, precision, device, None, None, None)
    if backend == "openvino" and not has_openvino():
        return replace(unknown, note="OpenVINO is not installed")
    if obstacle := obstacle_to(backend, precision, device):
        return replace(unknown, note=obstacle)
    if backend == "compile":
        return replace(unknown, note="works; not measured, as compiling takes a minute")
    image = torch.rand(1, 1, WINDOW, WINDOW, WINDOW)
    network = network.to(device)
    try:
        predictor = predictor_of(network, backend, precision)
        took_s = best_seconds(lambda: predictor(image), device, seconds)
    except (BundleError, RuntimeError) as error:
        return replace(unknown, note=error.message if isinstance(error, BundleError) else one_line(str(error)))
    gflop = gflop_of(network, torch.device(device), WINDOW) or 0.0
    return replace(unknown, windows_per_s=1 / took_s, gflops=gflop / took_s)


def _beside(ceilings: Mapping[tuple[str, str], float | None], speeds: Sequence[Speed]) -> Iterator[Speed]:
    """Each way beside the most that was reached in its precision on its device, by this network, too."""
    for speed in speeds:
        ceiling = ceilings[speed.precision, speed.device]
        alike = [s.gflops for s in speeds if (s.precision, s.device) == (speed.precision, speed.device) and s.gflops]
        yield speed if ceiling is None else replace(speed, ceiling_gflops=max([ceiling, *alike]))


def _facts() -> list[tuple[str, str]]:
    flags = _cpu_flags()
    facts = [
        ("processor", _cpu_name()),
        ("cores", f"{_cores()} for this process; PyTorch uses {torch.get_num_threads()} threads"),
        ("instructions", ", ".join(name for flag, name in _FLAGS.items() if flag in flags) or "not known"),
        *(("limited by", f"{name}={os.environ[name]}") for name in _LIMITS if name in os.environ),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"),
    ]
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        facts.append(("GPU", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"))
    else:
        facts.append(("GPU", "none that PyTorch can use"))
    return facts + [(name, _version(name)) for name in ("torch", "openvino", "monai")]


def _advice(plan: Plan, speeds: list[Speed]) -> list[str]:
    ran = [speed for speed in speeds if speed.windows_per_s]
    best = max(ran, key=lambda speed: speed.windows_per_s or 0.0)
    chosen = next((s for s in ran if (s.backend, s.precision) == (plan.backend, plan.precision)), best)
    advice = []
    if (best.windows_per_s or 0) > 1.15 * (chosen.windows_per_s or 0):
        advice.append(f"--backend {best.backend} --precision {best.precision} is faster here than what auto takes.")
    if _version("openvino") == "not installed" and plan.precision == "fp32":
        advice.append("pip install 'lungseg3d[openvino]': fp32 on CPUs without bfloat16 units is faster with it.")
    load = os.getloadavg()[0]
    if load > _cores():
        advice.append(f"Other programs are running (load {load:.1f}): measure again when they are not.")
    return advice


def _cores() -> int:
    """Cores that this process may use; macOS does not say, there it is all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name() -> str:
    lines = _cpuinfo()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _cpu_flags() -> set[str]:
    return set(next((line.split(":", 1)[1].split() for line in _cpuinfo() if line.startswith("flags")), []))


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
