"""Parts are joined and split without a change, in one order."""

from __future__ import annotations

import torch

from lungseg3d.engines.sampling.parts import join_parts, split_into_parts


def test_the_last_axis_runs_fastest_and_splitting_is_the_inverse():
    parts = torch.arange(16.0)[:, None, None, None, None].expand(16, 1, 3, 3, 3)
    mosaics = join_parts(parts, 2)
    assert mosaics.shape == (2, 1, 6, 6, 6)
    assert mosaics[0, 0, ::3, ::3, ::3].flatten().tolist() == list(range(8))
    assert mosaics[1, 0, 0, 0, 5] == 9
    assert torch.equal(split_into_parts(mosaics, 2), parts)


def test_voxels_and_channels_keep_their_places():
    parts = torch.rand(27, 2, 4, 5, 6)
    mosaics = join_parts(parts, 3)
    assert mosaics.shape == (1, 2, 12, 15, 18)
    assert torch.equal(mosaics[0, :, 4:8, 10:15, :6], parts[9 + 6])
    assert torch.equal(split_into_parts(mosaics, 3), parts)
