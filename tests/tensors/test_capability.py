"""What a machine computes is tried: a crash, an exception, wrong numbers and emulation all mean that it cannot."""

from __future__ import annotations

import sys

import pytest
import torch

from lungseg3d.core import BundleError
from lungseg3d.inference import choose
from lungseg3d.tensors import capability, obstacle_to, resolve_precision, trial


@pytest.fixture
def untried(monkeypatch):
    """Nothing has been tried yet."""
    monkeypatch.setattr(capability, "_found", {})


@pytest.fixture
def program(monkeypatch, tmp_path, untried):
    """`program(code)`: the child process runs this instead."""

    def replace(code: str) -> None:
        path = tmp_path / "trial.py"
        path.write_text(code, encoding="utf-8")
        monkeypatch.setattr(capability, "_PROGRAM", path)

    return replace


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import sys; sys.exit('the result is wrong: nan')", "the result is wrong: nan"),
        ("raise RuntimeError('bf16 path needs avx512')", "bf16 path needs avx512"),
        ("import sys; sys.exit(7)", "exit code 7"),
    ],
)
def test_whatever_ends_a_trial_badly_is_the_reason_why_not(program, code, reason):
    program(code)
    assert reason in obstacle_to("torch", "bf16")
    with pytest.raises(BundleError, match="--precision bf16") as error:
        choose("torch", "bf16", "cpu")
    assert (error.value.code, "fp32" in error.value.remedy) == ("E_PRECISION", True)


def test_a_trial_that_passes_is_made_once(program):
    program("print('fine')")
    assert obstacle_to("torch", "bf16") == ""
    program("import sys; sys.exit(1)")
    assert choose("auto", "bf16", "cpu").precision == "bf16"


def test_fp32_by_pytorch_and_auto_start_no_process(program, monkeypatch):
    program("import sys; sys.exit(1)")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert choose("torch", "fp32", "cpu").backend == "torch"
    choose("auto", "auto", "cpu")


def test_a_backend_that_does_not_work_is_refused_by_its_name(program):
    program("import sys; sys.exit('no C++ compiler')")
    with pytest.raises(BundleError, match=r"E_BACKEND: --backend compile .* no C\+\+ compiler"):
        choose("compile", "fp32", "cpu")


def test_flags_that_promise_what_comes_out_wrong_are_not_believed(untried, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)

    def fail(precision, device):
        raise RuntimeError("illegal")

    monkeypatch.setattr(capability, "try_torch", fail)
    assert resolve_precision("auto", "cpu") == "fp32"


def test_wrong_numbers_shapes_and_times_are_found():
    right = torch.ones(1, 2, 3, 3, 3, dtype=torch.float64)
    trial._check(right.float(), right, "bf16")
    for wrong in (right * 1.1, right * float("nan"), right[:, :1]):
        with pytest.raises(trial.TrialError):
            trial._check(wrong.float(), right, "bf16")
    trial._check_time(2.5, 1.0)
    with pytest.raises(trial.TrialError, match="24 times as slow"):
        trial._check_time(24.0, 1.0)


def test_fp32_passes_its_trial_here_and_would_not_with_a_wrong_convolution(monkeypatch):
    trial.try_torch("fp32")
    right = trial._convolved

    def convolve_wrongly_in_fp32(weight, bias, image):
        return right(weight, bias, image) * (1.1 if weight.dtype == torch.float32 else 1)

    monkeypatch.setattr(trial, "_convolved", convolve_wrongly_in_fp32)
    with pytest.raises(trial.TrialError, match=r"the result is wrong: 0\.1 of its norm off"):
        trial.try_torch("fp32")


@pytest.mark.skipif(sys.platform != "linux" or torch.backends.cpu.get_cpu_capability() == "NO AVX", reason="x86 only")
def test_a_processor_with_avx2_alone_is_refused_bf16(untried, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert "times as slow as fp32" in obstacle_to("torch", "bf16")
