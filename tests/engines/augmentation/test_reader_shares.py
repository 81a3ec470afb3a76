"""Per cent of readers become shares, and the image stays."""

from __future__ import annotations

import torch

from lungseg3d.engines import ReaderShares


def test_labels_become_shares_and_hu_stay():
    hu, label = torch.full((1, 1, 1, 1, 3), -500.0), torch.tensor([0, 33, 100], dtype=torch.uint8).view(1, 1, 1, 1, 3)
    same, shares = ReaderShares()(hu, label, ["nodules"], [])
    assert torch.equal(same, hu)
    torch.testing.assert_close(shares.flatten(), torch.tensor([0.0, 0.33, 1.0]))
