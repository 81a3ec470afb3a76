"""Precision by name: what runs in it, and what is no name."""

from __future__ import annotations

import pytest
import torch

from lungseg3d.tensors import PRECISIONS, autocast_for, resolve_precision


def type_of_a_product(precision: str, device: str = "cpu") -> torch.dtype:
    a = torch.ones(4, 4, device=device)
    with autocast_for(precision, device):
        return (a @ a).dtype


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_product_has_the_precision_that_was_named(precision, dtype):
    assert type_of_a_product(precision) == dtype


def test_outside_the_context_products_are_fp32_again():
    assert type_of_a_product("bf16") == torch.bfloat16
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_named_precision_is_kept(precision):
    assert resolve_precision(precision, "cpu") == precision


def test_auto_on_a_cpu_takes_bf16_only_where_the_cpu_multiplies_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert resolve_precision("auto", "cpu") == "fp32"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_cuda_takes_bf16_where_the_card_has_it(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert resolve_precision("auto", torch.device("cuda")) == expected


@pytest.mark.parametrize("use", [resolve_precision, autocast_for])
@pytest.mark.parametrize("name", ["half", "", "FP32"])
def test_an_unknown_precision_is_an_error_that_lists_the_known_ones(use, name):
    with pytest.raises(ValueError, match="expected one of") as caught:
        use(name, "cpu")
    assert all(known in str(caught.value) for known in PRECISIONS)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_a_product_on_cuda_has_the_precision_that_was_named(precision, dtype):
    assert type_of_a_product(precision, "cuda") == dtype
