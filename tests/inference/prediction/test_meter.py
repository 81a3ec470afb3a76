"""The meter counts what networks are given, and only while somebody asks."""

from __future__ import annotations

import torch

from lungseg3d.inference import WindowInferer, metered, predictor_of
from lungseg3d.networks import LightUNet3d


def test_windows_are_counted_by_network_and_voxels():
    network = LightUNet3d(channels=(4, 8)).eval()
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        with metered() as meter:
            WindowInferer(roi_size=(16, 32, 32), overlap=0.0, batch_size=1, precision="fp32")(image, network)
        predictor_of(network, "torch", "fp32")(image)  # nobody asks any more
    (work,) = meter.works
    assert work.network is network
    assert (work.calls, work.voxels) == (2, 32**3)
    assert work.seconds > 0
