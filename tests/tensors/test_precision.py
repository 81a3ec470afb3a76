"""Precision by name: what runs in it, and what is no name."""

from __future__ import annotations

import pytest
import torch

from lungseg3d.tensors import PRECISIONS, autocast_for, resolve_precision
from lungseg3d.tensors.precision import is_too_small_for_bf16


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


@pytest.mark.parametrize(("kernel", "shape"), [(3, (2, 2, 2)), (3, (2, 4, 4)), (5, (4, 4, 2)), (7, (14, 14, 14))])
def test_in_bf16_on_a_cpu_the_weights_of_a_convolution_of_few_voxels_get_their_true_gradient(kernel, shape):
    torch.manual_seed(0)
    convolution = torch.nn.Conv3d(32, 48, kernel, padding=kernel // 2)
    image, along = torch.randn(2, 32, *shape), torch.randn(2, 48, *shape)
    gradients = []
    for precision in ("fp32", "bf16"):
        convolution.zero_grad()
        with autocast_for(precision, "cpu"):
            features = convolution(image)
        features.float().mul(along).sum().backward()
        gradients.append(convolution.weight.grad.clone())
    assert (gradients[1] - gradients[0]).norm() < 0.02 * gradients[0].norm()


@pytest.mark.parametrize(
    ("kernel", "shape", "stride", "is_training", "small"),
    [
        (3, (6, 6, 6), 2, True, False),
        (3, (6, 5, 6), 2, False, True),
        (3, (6, 5, 6), (1, 2, 1), False, True),
        (3, (6, 5, 6), 1, True, True),
        (3, (6, 5, 6), 1, False, False),
        (3, (6, 2, 6), 1, False, True),
        (1, (1, 1, 1), 2, True, False),
        (5, (10, 10, 10), 2, True, False),
        (7, (64, 64, 64), 1, False, True),
    ],
)
def test_small_is_measured_in_kernels(kernel, shape, stride, is_training, small):
    image, weight = torch.zeros(1, 8, *shape), torch.zeros(4, 8, kernel, kernel, kernel)
    assert is_too_small_for_bf16(image, weight, stride, is_training) is small


def test_a_large_convolution_is_bf16_and_a_small_one_is_not():
    convolution, strided = torch.nn.Conv3d(8, 8, 3, padding=1), torch.nn.Conv3d(8, 8, 3, stride=2)
    with autocast_for("bf16", "cpu"):
        assert convolution(torch.zeros(1, 8, 8, 8, 8)).dtype == torch.bfloat16
        assert convolution(torch.zeros(1, 8, 4, 4, 4)).dtype == torch.float32
        with torch.no_grad():
            assert convolution(torch.zeros(1, 8, 4, 4, 4)).dtype == torch.bfloat16
            assert convolution(torch.zeros(1, 8, 2, 4, 4)).dtype == torch.float32
            assert strided(torch.zeros(1, 8, 4, 4, 4)).dtype == torch.float32
    assert convolution(torch.zeros(1, 8, 8, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize("shape", [(10, 10, 2), (5, 5, 1), (24, 24, 1), (4, 9, 9)])
def test_in_bf16_on_a_cpu_a_strided_convolution_of_few_voxels_is_right(shape):
    torch.manual_seed(0)
    convolution, image = torch.nn.Conv3d(32, 64, 3, stride=2, padding=1), torch.randn(1, 32, *shape)
    with torch.no_grad():
        expected = convolution(image)
        torch.full((8, 2**20), 3e38, dtype=torch.bfloat16)  # what reads beyond its memory finds there
        with autocast_for("bf16", "cpu"):
            found = convolution(image)
    assert torch.allclose(found, expected, atol=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_a_product_on_cuda_has_the_precision_that_was_named(precision, dtype):
    assert type_of_a_product(precision, "cuda") == dtype
