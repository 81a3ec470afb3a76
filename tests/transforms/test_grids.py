"""ToWorkingGridd: what lay somewhere in the world lies there on the working grid too."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch

from lungseg3d.core import Grid, Volume
from lungseg3d.tensors import AIR_HU, to_meta_tensor, to_volume
from lungseg3d.transforms import ToWorkingGridd

CENTRE_MM = np.array([10.0, -6.0, 14.0])
RADIUS_MM = 9.0


def grid_with(order=(0, 1, 2), signs=(1, 1, 1), spacing_mm=(1.5, 1.8, 2.4), shear=0.0) -> Grid:
    """About 96 mm of every axis around the world's origin, with axes permuted, flipped or sheared."""
    shape = np.array([64, 54, 40])
    affine = np.eye(4)
    affine[:3, :3] = np.diag(np.array(spacing_mm) * signs)[:, list(order)]
    affine[1, :3] += shear * affine[2, :3]
    affine[:3, 3] = -affine[:3, :3] @ ((shape[list(order)] - 1) / 2)
    return Grid(tuple(shape[list(order)]), affine)


def ball_on(grid: Grid) -> tuple[Volume, Volume]:
    """HU and mask of a ball of soft tissue in lung, drawn from its distance in mm."""
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    away_mm = np.linalg.norm(grid.to_world(voxels) - CENTRE_MM, axis=-1)
    hu = np.where(away_mm <= RADIUS_MM, 40, -850).astype(np.int16)
    return Volume(hu, grid.affine), Volume((away_mm <= RADIUS_MM).astype(np.uint8), grid.affine)


def on_working_grid(grid: Grid, spacing_mm=2.0, **options) -> tuple[Volume, Volume]:
    ct, mask = ball_on(grid)
    data = {"image": to_meta_tensor(ct), "roi": to_meta_tensor(mask)}
    data = ToWorkingGridd(["image", "roi"], spacing_mm, label_keys="roi", **options)(data)
    return to_volume(data["image"]), to_volume(data["roi"])


def centre_mm(mask: Volume) -> np.ndarray:
    return mask.grid.to_world(np.argwhere(mask.array > 0)).mean(axis=0)


GRIDS = {
    "plain": grid_with(),
    "flipped": grid_with(signs=(-1, -1, 1)),
    "permuted": grid_with(order=(2, 0, 1), signs=(1, -1, -1)),
    "sheared": grid_with(shear=0.25),
}


@pytest.mark.parametrize("roi_key", [None, "roi"])
@pytest.mark.parametrize("name", GRIDS)
def test_the_ball_lies_where_it_lay_with_the_volume_it_had(name, roi_key):
    image, roi = on_working_grid(GRIDS[name], roi_key=roi_key)
    order, signs = image.grid.ras_axes
    assert (order, signs) == ((0, 1, 2), (1, 1, 1))
    assert image.grid.is_orthogonal
    assert image.grid.matches(roi.grid)
    np.testing.assert_allclose(centre_mm(roi), CENTRE_MM, atol=0.4)
    seen = image.with_array(image.array > -405)
    np.testing.assert_allclose(centre_mm(seen), CENTRE_MM, atol=0.4)
    ball_mm3 = 4 / 3 * np.pi * RADIUS_MM**3
    assert seen.array.sum() * seen.voxel_volume_mm3 == pytest.approx(ball_mm3, rel=0.1)
    # The nearest voxel of 2.4 mm slices comes once or twice, so a small mask may gain or lose a slice's share.
    assert roi.array.sum() * roi.voxel_volume_mm3 == pytest.approx(ball_mm3, rel=0.15)


def test_types_are_float_hu_and_the_labels_own():
    image, roi = on_working_grid(GRIDS["flipped"])
    assert image.array.dtype == np.float32
    assert roi.array.dtype == np.uint8
    assert set(np.unique(roi.array)) == {0, 1}


@pytest.mark.parametrize("margin_mm", [0.0, 6.0, 11.0])
@pytest.mark.parametrize("name", ["plain", "flipped", "permuted"])
def test_the_box_ends_the_margin_beyond_the_mask(name, margin_mm):
    source, mask = ball_on(GRIDS[name])
    image, _ = on_working_grid(GRIDS[name], roi_key="roi", margin_mm=margin_mm)
    voxels = np.argwhere(mask.array > 0)
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    points = source.grid.to_world((voxels[:, None] + corners).reshape(-1, 3))
    ends = np.sort(image.grid.to_world(np.array([(-0.5,) * 3, np.array(image.shape) - 0.5])), axis=0)
    below, above = points.min(axis=0) - ends[0], ends[1] - points.max(axis=0)
    # The margin is rounded up to whole voxels, of 2.4 mm at most.
    for beyond in (below, above):
        assert (beyond >= margin_mm - 1e-6).all()
        assert (beyond < margin_mm + 2.4).all()


def test_the_box_is_cut_at_the_volume():
    image, _ = on_working_grid(GRIDS["plain"], roi_key="roi", margin_mm=500)
    whole, _ = on_working_grid(GRIDS["plain"])
    assert image.grid.matches(whole.grid)


def test_an_empty_mask_keeps_everything():
    ct, mask = ball_on(GRIDS["plain"])
    data = {"image": to_meta_tensor(ct), "roi": to_meta_tensor(mask.with_array(mask.array * 0))}
    data = ToWorkingGridd(["image", "roi"], 2.0, label_keys="roi", roi_key="roi")(data)
    extent_mm = np.array(data["image"].shape[1:]) * to_volume(data["image"]).spacing_mm
    np.testing.assert_allclose(extent_mm, np.array(ct.shape) * ct.spacing_mm)


def test_beyond_a_sheared_volume_there_is_air_and_no_label():
    image, roi = on_working_grid(GRIDS["sheared"])
    assert image.array[0, 0, -1] == AIR_HU
    assert roi.array[0, 0, -1] == 0


def test_meta_goes_along_without_a_warning_and_the_given_data_stay():
    ct, mask = ball_on(GRIDS["plain"])
    data = {"image": to_meta_tensor(ct, {"filename_or_obj": "ct.nii"}), "roi": to_meta_tensor(mask)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ToWorkingGridd("image", 3.0, roi_key="roi")(data)
    assert result["image"].meta["filename_or_obj"] == "ct.nii"
    assert result["roi"] is data["roi"]
    assert data["image"].dtype == torch.int16
    assert data["image"].shape == (1, *ct.shape)
