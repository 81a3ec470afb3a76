"""Predictors: what `auto` takes, and that every backend says the same of the same image."""

from __future__ import annotations

import gc
import logging
import shutil

import pytest
import torch

from lungseg3d.core import BundleError
from lungseg3d.inference import choose, predictor_of
from lungseg3d.inference.prediction import predictors
from lungseg3d.networks import CentredUNet3d, LightUNet3d


@pytest.fixture
def unet() -> LightUNet3d:
    torch.manual_seed(0)
    return LightUNet3d(channels=(4, 8)).eval()


def expected(network, image):
    with torch.no_grad():
        return network(image)


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("installed", [True, False])
def test_auto_takes_bf16_where_the_cpu_has_it_else_openvino_where_it_is_installed(monkeypatch, bf16, installed):
    monkeypatch.setattr(predictors, "resolve_precision", lambda name, device: "bf16" if bf16 else "fp32")
    monkeypatch.setattr(predictors, "has_openvino", lambda: installed)
    plan = choose("auto", "auto", "cpu")
    assert (plan.backend, plan.precision) == (
        ("torch", "bf16") if bf16 else ("openvino", "fp32") if installed else ("torch", "fp32")
    )
    assert ("pip install" in plan.reason) == (not bf16 and not installed)


def test_what_was_asked_for_by_name_stays(monkeypatch):
    monkeypatch.setattr(predictors, "obstacle_to", lambda *way: "")
    assert (choose("torch", "fp32", "cpu").backend, choose("compile", "bf16", "cpu").precision) == ("torch", "bf16")
    with pytest.raises(ValueError, match="backend is 'onnx'"):
        choose("onnx", "auto", "cpu")


def test_openvino_is_refused_where_it_is_not_installed_or_does_not_take_what_is_asked(monkeypatch):
    monkeypatch.setattr(predictors, "has_openvino", lambda: False)
    with pytest.raises(BundleError, match="not installed") as error:
        choose("openvino", "fp32", "cpu")
    assert error.value.code == "E_BACKEND"
    monkeypatch.setattr(predictors, "has_openvino", lambda: True)
    with pytest.raises(BundleError, match="no fp16"):
        choose("openvino", "fp16", "cpu")
    with pytest.raises(BundleError, match="not on cuda"):
        choose("openvino", "fp32", "cuda")


def test_pytorch_gives_the_networks_own_logits_and_leaves_its_mode(unet):
    image = torch.rand(2, 1, 16, 32, 16)
    known = expected(unet, image)
    unet.train()
    with torch.no_grad():
        torch.testing.assert_close(predictor_of(unet, "torch", "fp32")(image), known, atol=1e-5, rtol=1e-4)
    assert unet.training


@pytest.mark.parametrize("network", [LightUNet3d(channels=(4, 8)), CentredUNet3d(channels=(4, 8))])
def test_openvino_says_what_pytorch_says_at_every_size_and_batch(network):
    pytest.importorskip("openvino")
    predictor = predictor_of(network.eval(), "openvino", "fp32")
    for shape in ((1, 1, 32, 32, 32), (2, 1, 16, 48, 32), (1, 1, 64, 16, 32)):
        image = torch.rand(*shape)
        torch.testing.assert_close(predictor(image), expected(network, image), atol=1e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch's compiler needs a C++ compiler")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_network_says_what_pytorch_says_also_of_images_of_few_voxels(precision):
    network = LightUNet3d(channels=(4, 8, 8, 8)).eval()
    predictor = predictor_of(network, "compile", precision)
    for shape in ((1, 1, 32, 32, 32), (2, 1, 48, 32, 16)):
        image = torch.rand(*shape)
        torch.testing.assert_close(predictor(image), expected(network, image), atol=0.05, rtol=0)


@pytest.mark.bf16
def test_a_predictor_is_made_once_and_anew_when_the_weights_change(unet):
    first = predictor_of(unet, "torch", "fp32")
    assert predictor_of(unet, "torch", "fp32") is first
    assert predictor_of(unet, "torch", "bf16") is not first
    with torch.no_grad():
        unet.head.bias.add_(1)
    assert predictor_of(unet, "torch", "fp32") is not first


def test_a_network_that_is_gone_is_not_kept(unet):
    predictor_of(unet, "torch", "fp32")
    before = len(predictors._KNOWN)
    del unet
    gc.collect()
    assert len(predictors._KNOWN) <= before


def test_a_network_that_openvino_cannot_take_runs_on_pytorch_by_auto_and_is_refused_by_name(unet, monkeypatch, caplog):
    pytest.importorskip("openvino")

    def refuse(*args, **kwargs):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(torch.jit, "trace", refuse)
    monkeypatch.setattr(predictors, "resolve_precision", lambda name, device: "fp32")
    with pytest.raises(BundleError, match="cannot take LightUNet3d"):
        predictor_of(unet, "openvino", "fp32")
    with caplog.at_level(logging.WARNING):
        predictor = predictor_of(unet, "auto", "fp32")
    assert "PyTorch is used instead" in caplog.text
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(predictor(image), expected(unet, image), atol=1e-5, rtol=1e-4)
