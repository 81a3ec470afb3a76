"""Tiling: everything in the mask is covered, in windows as tight as the mask, and none elsewhere."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lungseg3d.inference.prediction.tiling import Tiling, shares_of, spans_over


def voxels(windows) -> int:
    return sum(math.prod(s.stop - s.start for s in window) for window in windows)


def two_lungs(shape=(320, 208, 288)) -> np.ndarray:
    """Two ellipsoids that touch the middle of the front, as lungs do."""
    x, y, z = np.ogrid[tuple(slice(n) for n in shape)]
    right = ((x - 80) / 72) ** 2 + ((y - 104) / 94) ** 2 + ((z - 140) / 135) ** 2 <= 1
    left = ((x - 240) / 72) ** 2 + ((y - 104) / 94) ** 2 + ((z - 140) / 135) ** 2 <= 1
    return right | left


@pytest.mark.parametrize("most", [(96, 96, 96), (192, 192, 128), (48, 96, 32)])
@pytest.mark.parametrize("margin", [0, 5])
def test_random_masks_are_covered_with_their_margin_by_windows_of_allowed_sizes_inside_the_image(most, margin):
    rng = np.random.default_rng(7)
    tiling = Tiling(most, (8, 8, 8), margin, 16)
    for _ in range(20):
        mask = np.zeros((96, 144, 64), bool)
        for _ in range(rng.integers(1, 5)):
            start = rng.integers(0, (90, 140, 60))
            stop = start + rng.integers(1, 60, 3)
            mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
        seen = np.zeros(mask.shape, bool)
        for window in tiling.windows(mask):
            assert all(s.start >= 0 and s.stop <= n for s, n in zip(window, mask.shape, strict=True))
            assert all((s.stop - s.start) % 16 == 0 for s in window)
            assert all(s.stop - s.start <= m for s, m in zip(window, most, strict=True))
            assert mask[window].any()
            seen[window] = True
        assert seen[mask].all()


def test_an_image_smaller_than_the_overlap_of_large_windows_is_covered():
    mask = np.ones((48, 48, 16), bool)
    (window,) = Tiling((352, 256, 128), (105, 76, 38), 8, 16).windows(mask)
    assert window == (slice(0, 48), slice(0, 48), slice(0, 16))


def test_an_empty_mask_needs_no_window():
    assert Tiling((96, 96, 96), (24, 24, 24), 8, 16).windows(np.zeros((96, 96, 96), bool)) == []


def test_what_fits_into_one_window_is_one_tight_window_with_its_margin():
    mask = np.zeros((96, 96, 96), bool)
    mask[40:50, 30:62, 90:95] = True
    (window,) = Tiling((96, 96, 96), (24, 24, 24), 3, 16).windows(mask)
    assert [s.stop - s.start for s in window] == [16, 48, 16]
    assert window[0].start <= 37
    assert window[0].stop >= 53
    assert window[2].stop == 96


def test_lungs_cost_about_half_of_what_a_regular_grid_of_small_windows_costs():
    mask = two_lungs()
    regular = [
        (slice(x, x + 96), slice(y, y + 96), slice(z, z + 96))
        for x in (0, 72, 144, 216, 224)
        for y in (0, 72, 112)
        for z in (0, 72, 144, 192)
    ]
    held = [window for window in regular if mask[window].any()]
    tight = Tiling((192, 192, 128), (24, 24, 24), 8, 16).windows(mask)
    assert voxels(tight) <= 0.55 * voxels(held)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_spans_cover_the_extent_and_share_what_they_must(count):
    for low, high in ((0, 160), (13, 150), (100, 160), (0, 40), (70, 72)):
        spans = spans_over((low, high), 160, 8, count, 16)
        assert spans[0][0] <= low
        assert spans[-1][1] >= high
        assert len({b - a for a, b in spans}) == 1
        assert all(a >= 0 and b <= 160 for a, b in spans)
        assert all(earlier[1] - later[0] >= 8 for earlier, later in itertools.pairwise(spans))


@pytest.mark.parametrize("reach", [0, 1, 16, 38])
@pytest.mark.parametrize("size", [(16, 96, 400), (320, 112, 128), (1024, 16, 16)])
def test_shares_keep_every_voxel_once_and_see_as_far_as_the_network_reaches(size, reach):
    kept = np.zeros(size, np.uint8)
    for share in shares_of(size, (128, 112, 144), reach, 16):
        kept[share.kept.slices] += 1
        assert all(side % 16 == 0 for side in (*share.window.shape, *share.window.start, *share.kept.shape))
        assert all(side <= most for side, most in zip(share.window.shape, (128, 112, 144), strict=True))
        seen = share.kept.grown(reach, within=size)
        assert share.window.joined(seen) == share.window
        assert share.window.grown(0, within=size) == share.window
    assert (kept == 1).all()


def test_what_fits_is_one_share():
    (share,) = shares_of((304, 208, 128), (320, 208, 128), 38, 16)
    assert share.window == share.kept
    assert share.window.shape == (304, 208, 128)


def test_windows_that_could_keep_nothing_are_refused():
    with pytest.raises(ValueError, match="keep nothing of a network that reaches 38 voxels"):
        shares_of((112, 64, 64), (96, 96, 96), 38, 16)
