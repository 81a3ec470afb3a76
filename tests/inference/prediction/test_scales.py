"""Two resolutions of one image: what either sees counts, on the whole image's grid."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from lungseg3d.inference import TwoScaleInferer, WindowInferer
from lungseg3d.inference.prediction.scales import reduce_resolution, restore_resolution


class Remembered:
    """An inferer that says what it is told to for each size, and remembers what it was given."""

    def __init__(self, fine: float, coarse: float) -> None:
        self.said = {9: fine, 5: coarse}
        self.masks: list[torch.Tensor | None] = []

    def __call__(self, image: torch.Tensor, network: object, mask: torch.Tensor | None = None) -> torch.Tensor:
        self.masks.append(mask)
        return torch.full_like(image, self.said[image.shape[2]])


@pytest.mark.parametrize(("fine", "coarse"), [(0.2, 0.7), (0.7, 0.2)])
def test_the_higher_probability_counts_whatever_the_sides(fine, coarse):
    image = MetaTensor(torch.rand(1, 1, 9, 10, 9), affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))
    found = TwoScaleInferer(Remembered(fine, coarse))(image, None)
    assert found.shape == image.shape
    assert torch.equal(found.affine, image.affine)
    torch.testing.assert_close(torch.as_tensor(found).as_subclass(torch.Tensor), torch.full((1, 1, 9, 10, 9), 0.7))


def test_a_coarse_voxel_is_looked_at_where_any_of_its_fine_ones_is():
    inferer = Remembered(0.5, 0.5)
    mask = torch.zeros(1, 1, 9, 10, 9)
    mask[0, 0, 3, 8, 8] = 1
    TwoScaleInferer(inferer)(torch.rand(1, 1, 9, 10, 9), None, mask=mask)
    fine, coarse = inferer.masks
    assert torch.equal(fine, mask)
    assert torch.nonzero(coarse).tolist() == [[0, 0, 1, 4, 4]]


def test_coarse_and_back_keeps_places():
    image = torch.zeros(1, 1, 12, 12, 12)
    image[0, 0, 4:6, 6:8, 8:10] = 1
    again = restore_resolution(reduce_resolution(image, 2), 2, image.shape[2:])
    assert reduce_resolution(image, 2)[0, 0, 2, 3, 4] == 1
    weights = again[0, 0] / again.sum()
    grid = torch.stack(torch.meshgrid(*[torch.arange(12.0)] * 3, indexing="ij"))
    torch.testing.assert_close((grid * weights).sum(dim=(1, 2, 3)), torch.tensor([4.5, 6.5, 8.5]))


def test_windows_at_both_scales_give_what_the_network_says_of_the_whole_image():
    class Threshold(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.zeros_like(image), 20 * (image - 0.5)], dim=1)

    torch.manual_seed(0)
    image, network = torch.rand(1, 1, 40, 36, 34), Threshold()
    windows = WindowInferer(roi_size=(16, 16, 16), overlap=0.0, precision="fp32")
    found = TwoScaleInferer(windows)(image, network)
    fine, coarse = (network(seen).softmax(dim=1)[:, 1:] for seen in (image, reduce_resolution(image, 2)))
    torch.testing.assert_close(found, torch.maximum(fine, restore_resolution(coarse, 2, image.shape[2:])))
