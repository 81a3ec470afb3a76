"""Windows around places: what lies in the image as it is, beyond it the border goes on."""

from __future__ import annotations

import pytest
import torch

from lungseg3d.inference.prediction.views import window_around, window_from

SHAPE = (9, 12, 7)


@pytest.mark.parametrize(
    "corner", [(2, 3, 1), (-2, -3, 4), (6, 9, -1), (-1, 10, 5), (8, 11, 6), (12, 3, 1), (2, -9, 1), (0, 0, 0)]
)
@pytest.mark.parametrize("side", [1, 5, 16])
def test_every_voxel_of_a_window_is_the_nearest_one_of_the_image(corner, side):
    image = torch.rand(1, *SHAPE)
    places = [torch.arange(a, a + side).clamp(0, n - 1) for a, n in zip(corner, SHAPE, strict=True)]
    expected = image[:, places[0]][:, :, places[1]][:, :, :, places[2]]
    assert torch.equal(window_from(image, corner, side), expected)


def test_a_window_says_where_it_begins_and_what_of_it_lies_in_the_image():
    image = torch.rand(1, *SHAPE)
    window, corner, inside = window_around(image, (1.0, 6.0, 5.0), 5)
    assert corner == [-1, 4, 3]
    assert inside == (slice(1, 5), slice(0, 5), slice(0, 4))
    assert torch.equal(window[0][inside], image[0, 0:4, 4:9, 3:7])
