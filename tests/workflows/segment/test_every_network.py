"""Every network overlay, from training to a label map, through the program and through `python -m monai.bundle run`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from lungseg3d.inference import SegmentLungsd
from lungseg3d.tensors import to_volume
from lungseg3d.transforms import ReadCTd
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases
from lungseg3d.workflows.train.run import train
from tests.support.small_data import NODULES, overrides_for, small_data

pytestmark = pytest.mark.slow
BUNDLES = Path(__file__).resolve().parents[3] / "bundles"
OVERLAYS = [(path.parts[-4], path.stem) for path in sorted(BUNDLES.glob("*/configs/networks/*.json"))]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(("name", "network"), OVERLAYS)
def test_an_overlay_trains_validates_goes_on_and_labels_a_ct(name, network, data, tmp_path, capfd):
    overrides = overrides_for(name, data, tmp_path / "cache")
    del overrides["network_def::channels"]
    fold = 1 if name == NODULES else None
    for epochs in ("1", "2"):
        code = train(
            BUNDLES / name,
            network=network,
            fold=fold,
            overrides={**overrides, "epochs": epochs},
            out=tmp_path / "run",
        )
        said = "".join(capfd.readouterr())
        assert code == 0, said[-3000:]
        # One validation each: the second training went on from the first.
        assert said.count("Metrics -- val_mean_dice") == 1
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["iteration"] == 4

    # The program's own stages; a whole chest through both would take minutes.
    trained = tmp_path / "run" / "bundle"
    if name == NODULES:
        ct, file = data / "image-3.nii.gz", "labels.nii.gz"
        options = SegmentOptions(device="cpu", roi="full", nodule_bundle=trained)
        (result,) = segment_cases([ct], tmp_path / "program", options)
        assert result.status == "done", result.issues
        ours = np.asarray(nibabel.load(tmp_path / "program" / result.case_id / file).dataobj)
    else:
        ct, file = data / "ct.nii.gz", "lungs.nii.gz"
        lungs = SegmentLungsd("ct", str(trained))(ReadCTd("ct")({"ct": str(ct)}))["lungs"]
        ours = to_volume(lungs).array

    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(trained)]
    command += ["--config_file", str(trained / "configs" / "inference.json"), "--dataset_dir", str(ct)]
    command += ["--output_dir", str(tmp_path / "bundle"), "--device", "$torch.device('cpu')"]
    command += ["--roi", "full"] if name == NODULES else []
    subprocess.run(command, check=True, capture_output=True, text=True)
    (written,) = (tmp_path / "bundle").glob(f"*/{file}")
    assert np.array_equal(ours, np.asarray(nibabel.load(written).dataobj))
