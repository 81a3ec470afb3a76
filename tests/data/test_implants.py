"""Nodules in other CTs: in the right place, of the right size, on any grid."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lungseg3d.core import Volume
from lungseg3d.data import Donor, free_places, implant


def ball_donor(radius_mm: float = 6.0) -> Donor:
    """A ball of 30 HU in lung, 1 mm voxels, off the middle of its crop."""
    affine = np.eye(4)
    affine[:3, 3] = (100, -50, 7)
    away = np.linalg.norm(np.indices((40, 40, 40)) - np.array([18, 20, 23])[:, None, None, None], axis=0)
    hu = np.where(away <= radius_mm, 30, -850).astype(np.int16)
    return Donor(Volume(hu, affine), Volume((away <= radius_mm).astype(np.uint8), affine))


def lung(spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]) -> Volume:
    return Volume(np.full(shape, -860, np.int16), np.diag([*spacing_mm, 1.0]))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 0.7, 1.25), (0.9, 0.9, 2.5)])
def test_an_implanted_ball_has_its_place_and_volume_on_any_grid(spacing_mm):
    host = lung(spacing_mm, tuple(int(60 / mm) for mm in spacing_mm))
    ct, mask = implant(host, ball_donor(), (30, 28, 32), np.eye(3))
    volume_mm3 = mask.sum() * host.voxel_volume_mm3
    assert volume_mm3 == pytest.approx((ball_donor().mask.array > 0).sum(), rel=0.06)
    assert host.grid.to_world(np.argwhere(mask).mean(axis=0)) == pytest.approx([30, 28, 32], abs=0.5)
    deep = np.linalg.norm(host.grid.to_world(np.argwhere(mask)) - (30, 28, 32), axis=1) < 3
    assert (ct.array[mask][deep] == 30).all()
    world = host.grid.to_world(np.moveaxis(np.indices(host.shape), 0, -1))
    far = np.linalg.norm(world - (30, 28, 32), axis=-1) > 12
    assert (ct.array[far] == -860).all()


def test_thick_slices_blur_the_nodules_ends_as_a_scanner_does():
    host = lung((1.0, 1.0, 5.0), (50, 50, 12))
    ct, _ = implant(host, ball_donor(), (25, 25, 25), np.eye(3))
    along = ct.array[25, 25]
    assert along[5] == 30
    assert -800 < along[6] < 0  # the ball ends within this slice
    assert along[8] < -800


def test_a_vessel_of_the_host_stays_beside_the_nodule():
    host = lung((1.0, 1.0, 1.0), (50, 50, 50))
    hu = host.array.copy()
    hu[25, 32:34, :] = 60  # a vessel, just outside the ball
    ct, mask = implant(host.with_array(hu), ball_donor(), (25, 25, 25), np.eye(3))
    assert not mask[25, 33, 25]
    assert ct.array[25, 33, 25] == 60


def test_the_same_turn_gives_the_same_nodule_and_a_turned_one_keeps_its_volume():
    host, turn = lung((1.0, 1.0, 1.0), (50, 50, 50)), Rotation.random(None, np.random.default_rng(1)).as_matrix()
    masks = [implant(host, ball_donor(), (25, 25, 25), t)[1] for t in (turn, turn, np.eye(3))]
    assert (masks[0] == masks[1]).all()
    assert masks[0].sum() == pytest.approx(masks[2].sum(), rel=0.05)


def test_places_lie_inside_the_lungs_and_apart_and_what_has_no_room_gets_none():
    away = np.linalg.norm(np.indices((60, 60, 60)) - 29.5, axis=0)
    lungs = Volume((away < 28).astype(np.uint8), np.eye(4))
    places = free_places(lungs, [5, 8, 40, 6], np.random.default_rng(3))
    assert places[2] is None
    found = [(place, reach) for place, reach in zip(places, (5, 8, 40, 6), strict=True) if place is not None]
    assert len(found) == 3
    for i, (place, reach) in enumerate(found):
        assert np.linalg.norm(place - 29.5) < 28 - reach + 1
        assert all(np.linalg.norm(place - other) > reach + others + 8 for other, others in found[:i])


def test_a_nodule_at_the_edge_of_the_ct_is_cut_there():
    host = lung((1.0, 1.0, 1.0), (40, 40, 40))
    _, mask = implant(host, ball_donor(), (0, 20, 20), np.eye(3))
    assert 0.4 < mask.sum() / (ball_donor().mask.array > 0).sum() < 0.7
