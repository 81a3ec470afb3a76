"""A bundle opens as its configuration says, or says why not."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lungseg3d.core import BundleError, Volume
from lungseg3d.inference import SegmentLungsd, open_bundle, shipped_bundle
from lungseg3d.io import pin_weights
from lungseg3d.networks import LightUNet3d
from lungseg3d.tensors import to_meta_tensor

SHIPPED = Path(__file__).resolve().parents[2] / "bundles" / "lung_ct_segmentation" / "configs" / "inference.json"
CHANNELS = [4, 8]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The lung bundle's own configuration around a tiny network with random weights."""
    root = tmp_path / "bundle"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    config = json.loads(SHIPPED.read_text(encoding="utf-8"))
    config["network_def"]["channels"] = CHANNELS
    (root / "configs" / "inference.json").write_text(json.dumps(config), encoding="utf-8")
    (root / "configs" / "metadata.json").write_text('{"name": "tiny", "version": "1.2.3"}', encoding="utf-8")
    torch.manual_seed(0)
    torch.save(LightUNet3d(out_channels=3, channels=CHANNELS).state_dict(), root / "models" / "model.pt")
    pin_weights(root)
    return root


def ct() -> MetaTensor:
    hu = np.random.default_rng(0).integers(-1000, 400, (20, 18, 16)).astype(np.int16)
    return to_meta_tensor(Volume(hu, np.diag([-3.0, -3, 3, 1])))


def test_an_opened_bundle_knows_itself_and_its_weights(bundle):
    opened = open_bundle(bundle, device=torch.device("cpu"), precision="fp32")
    assert (opened.name, opened.version, opened.root) == ("tiny", "1.2.3", bundle)
    assert opened.weights_sha256 == hashlib.sha256((bundle / "models" / "model.pt").read_bytes()).hexdigest()
    assert not opened.network.training
    saved = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, saved[key]) for key, value in opened.network.state_dict().items())
    assert opened.inferer.precision == "fp32"


def test_weights_of_a_network_that_judges_count_to_the_confidence(bundle):
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["judge_network"] = {**config["network_def"], "channels": [4, 6]}
    path.write_text(json.dumps(config), encoding="utf-8")
    before = open_bundle(bundle)
    assert (before.more_sha256, before.confidence_sha256) == ({}, before.weights_sha256)
    torch.save(LightUNet3d(out_channels=3, channels=(4, 6)).state_dict(), bundle / "models" / "judge.pt")
    pin_weights(bundle)
    after = open_bundle(bundle)
    assert after.more_sha256 == {"judge": hashlib.sha256((bundle / "models" / "judge.pt").read_bytes()).hexdigest()}
    assert after.weights_sha256 == before.weights_sha256
    assert after.confidence_sha256 not in (before.confidence_sha256, *after.more_sha256.values())


def test_leading_steps_are_skipped_and_the_rest_stays(bundle):
    whole, skipped = open_bundle(bundle), open_bundle(str(bundle), skip=1)
    names = [type(step).__name__ for step in whole.preprocessing.transforms]
    assert names[0] == "ReadCTd"
    assert [type(step).__name__ for step in skipped.preprocessing.transforms] == names[1:]


def test_inference_gives_foreground_probabilities_in_the_images_place(bundle):
    opened = open_bundle(bundle, skip=1, device=torch.device("cpu"), precision="fp32")
    data = opened.preprocessing({"image": ct()})
    result = opened.infer(data)
    assert "pred" not in data
    assert result["pred"].shape == (2, *data["image"].shape[1:])
    assert torch.equal(result["pred"].affine, data["image"].affine)
    assert not result["pred"].requires_grad
    with torch.no_grad():
        padded = torch.nn.functional.pad(data["image"].as_tensor()[None], (0, 0, 0, 14, 0, 12), mode="replicate")
        expected = opened.network(padded).softmax(dim=1)[0, 1:, :20, :18, :16]
    torch.testing.assert_close(result["pred"].as_tensor(), expected, atol=1e-5, rtol=1e-4)


def test_stage_1_as_a_transform_gives_lungs_and_roi_on_the_cts_grid(bundle):
    image = ct()
    data = SegmentLungsd("ct", bundle_root=str(bundle), precision="fp32")({"ct": image})
    assert data["lungs"].shape == data["roi"].shape == image.shape
    assert torch.equal(data["lungs"].affine, image.affine)
    assert torch.equal(data["roi"].as_tensor() > 0, data["lungs"].as_tensor() > 0)
    assert set(data["lungs"].unique().tolist()) <= {0, 1, 2}
    assert data["ct"] is image


@pytest.mark.parametrize("missing", ["configs/inference.json", "configs/metadata.json", "models/model.pt"])
def test_a_missing_file_is_named(bundle, missing):
    (bundle / missing).unlink()
    with pytest.raises(BundleError, match="E_NO_BUNDLE") as caught:
        open_bundle(bundle)
    assert missing in str(caught.value)


def test_a_folder_that_does_not_exist_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="E_NO_BUNDLE"):
        open_bundle(tmp_path / "nowhere")


def test_an_unknown_shipped_bundle_is_an_error():
    with pytest.raises(BundleError, match="no bundle named no_such_bundle"):
        shipped_bundle("no_such_bundle")


def test_weights_of_another_network_are_refused_with_the_keys_that_differ(bundle):
    torch.save(LightUNet3d(out_channels=2, channels=CHANNELS).state_dict(), bundle / "models" / "model.pt")
    pin_weights(bundle)
    with pytest.raises(BundleError, match="E_BAD_CHECKPOINT") as caught:
        open_bundle(bundle)
    text = str(caught.value)
    assert "in 2 places" in text
    assert "head.weight: (24, 4, 3, 3, 3) expected, (16, 4, 3, 3, 3) found" in text
    assert "head.bias: (24,) expected, (16,) found" in text


def test_missing_and_surplus_weights_are_named(bundle):
    state = LightUNet3d(out_channels=3, channels=CHANNELS).state_dict()
    state["extra"] = state.pop("head.bias")
    torch.save(state, bundle / "models" / "model.pt")
    pin_weights(bundle)
    with pytest.raises(BundleError, match="E_BAD_CHECKPOINT") as caught:
        open_bundle(bundle)
    assert "head.bias: (24,) expected, None found" in str(caught.value)
    assert "extra: None expected, (24,) found" in str(caught.value)


class Evil:
    """A pickle that would leave a file behind where it is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_that_is_no_weights_is_refused_and_not_run(bundle, tmp_path):
    for save in (torch.save, lambda value, path: Path(path).write_bytes(pickle.dumps(value))):
        save(Evil(tmp_path / "owned"), bundle / "models" / "model.pt")
        pin_weights(bundle)
        with pytest.raises(BundleError, match="E_UNSAFE_CHECKPOINT"):
            open_bundle(bundle)
        assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x02]q\x00."])
def test_a_file_that_is_no_weights_is_refused(bundle, content):
    (bundle / "models" / "model.pt").write_bytes(content)
    pin_weights(bundle)
    with pytest.raises(BundleError, match="E_BAD_CHECKPOINT"):
        open_bundle(bundle)


def test_a_training_checkpoint_is_told_from_weights(bundle):
    torch.save({"model": {"a": torch.zeros(1)}}, bundle / "models" / "model.pt")
    pin_weights(bundle)
    state = LightUNet3d(out_channels=3, channels=CHANNELS).state_dict()
    with pytest.raises(BundleError, match=f"in {len(state) + 1} places"):
        open_bundle(bundle)


@pytest.mark.parametrize("saved", [[1, 2, 3], {"model": {"a": torch.zeros(1)}}, {"epoch": 3}, torch.zeros(3)])
def test_weights_that_are_no_plain_state_dict_are_refused(bundle, saved):
    torch.save(saved, bundle / "models" / "model.pt")
    pin_weights(bundle)
    with pytest.raises(BundleError, match="E_BAD_CHECKPOINT"):
        open_bundle(bundle)
