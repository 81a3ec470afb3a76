"""Values of --set that no training takes are refused with their key, before data are read."""

from __future__ import annotations

import pytest
from fire.parser import DefaultParseValue

from lungseg3d.core import BundleError, UsageError
from lungseg3d.workflows.train.checks import check_training, training_configuration
from lungseg3d.workflows.train.values import check_value
from tests.support.small_data import BUNDLES

BUNDLE = BUNDLES / "lung_nodule_ct_segmentation"
WRONG = [
    "epochs=abc",
    "epochs=-1",
    "epochs=2.5",
    "learning_rate=nan",
    "learning_rate=inf",
    "learning_rate=1,5",
    "batch_size=0",
    "patch_size=[40,40]",
    "val_interval=0",
    "seed=-1",
    "ema=2",
    "hu_range=[400,-1000]",
    "precision=fp8",
    "device=gpu",
    "compile=maybe",
    "spacing_mm=0",
    "optimizer::weight_decay=x",
    "train::sampler::batch_size=two",
]
RIGHT = [
    ("epochs=3", 3),
    ("learning_rate=0.001", 0.001),
    ("learning_rate=1e-3", 0.001),
    ("fold=None", None),
    ("patch_size=[40,40,32]", [40, 40, 32]),
    ("patience=5", 5),
]


def configured(text: str):
    key, _, value = text.partition("=")
    return training_configuration([BUNDLE / "configs" / "train.json"], BUNDLE, {key: value})


@pytest.mark.parametrize("text", WRONG)
def test_a_value_that_cannot_be_is_named_with_its_key(text):
    with pytest.raises(UsageError) as error:
        configured(text)
    assert error.value.code == "E_VALUE"
    assert text in error.value.message


@pytest.mark.parametrize(("text", "value"), RIGHT)
def test_a_value_that_can_be_is_what_the_configuration_holds(text, value):
    found = configured(text)[text.partition("=")[0]]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("key", "text", "before", "refused"),
    [("learning_rate", "$2*0.01", 0.1, "2*0.01"), ("cache_dir", "/a", "$x", None)],
)
def test_an_expression_and_what_has_no_rule_pass(key, text, before, refused):
    assert is_taken(key, text, before)
    assert refused is None or not is_taken(key, refused, before)


def is_taken(key: str, text: str, before: object) -> bool:
    """Whether `check_value` lets a value of the command line stand in place of another."""
    try:
        check_value(key, text, DefaultParseValue(text), before)
    except UsageError as error:
        assert (error.code, key in error.message) == ("E_VALUE", True)  # noqa: PT017
        return False
    return True


@pytest.mark.parametrize("device", ["cuda:7", "mps"])
def test_a_device_that_is_not_there_is_refused_before_data_are_looked_for(device, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(BundleError, match=f"E_DEVICE: --set device={device}"):
        check_training(configured(f"device={device}"), BUNDLE)
