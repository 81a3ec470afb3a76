"""The phantom is what it says: reproducible, in the right place, of the right size and density."""

from functools import lru_cache

import numpy as np
import pytest

from lungseg3d.core.labels import LEFT_LUNG, NODULE, RIGHT_LUNG
from lungseg3d.data import NoduleSpec, Phantom, PhantomSpec, make_phantom
from lungseg3d.data.phantom.anatomy import Anatomy
from lungseg3d.data.phantom.shapes import Places

SMALL = {"shape": (88, 80, 76), "spacing_mm": (4.0, 4.0, 4.0)}


@lru_cache(maxsize=8)
def small_phantom(seed: int = 0, lungs: str = "both") -> Phantom:
    return make_phantom(PhantomSpec(seed=seed, lungs=lungs, **SMALL))  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def bare_phantom() -> Phantom:
    """The same person without nodules and noise."""
    return make_phantom(PhantomSpec(seed=0, nodule_count=0, noise_hu=0, **SMALL))  # type: ignore[arg-type]


def lung_litres(phantom: Phantom) -> float:
    return float((phantom.labels.array > 0).sum() * phantom.ct.voxel_volume_mm3 / 1e6)


def close_up(nodule: NoduleSpec, spacing_mm: tuple[float, float, float], noise_hu: float = 0.0) -> Phantom:
    """A partial scan of the middle of the chest with one nodule, its field wide enough for it."""
    shape = tuple(int(np.ceil(2 * (90, 40, 12)[axis] / spacing_mm[axis])) for axis in range(3))
    return make_phantom(PhantomSpec(shape=shape, spacing_mm=spacing_mm, nodules=(nodule,), noise_hu=noise_hu))


def test_the_same_seed_gives_the_same_bytes():
    again = make_phantom(PhantomSpec(seed=0, **SMALL))
    first = small_phantom(0)
    assert again.ct.array.tobytes() == first.ct.array.tobytes()
    assert again.nodule_map.array.tobytes() == first.nodule_map.array.tobytes()
    assert again.nodules == first.nodules


def test_another_seed_gives_another_person():
    assert lung_litres(small_phantom(1)) != lung_litres(small_phantom(0))
    assert small_phantom(1).nodules != small_phantom(0).nodules


def test_the_parts_have_their_types_and_one_grid():
    phantom = small_phantom()
    assert [v.array.dtype for v in (phantom.ct, phantom.labels, phantom.nodule_map)] == [np.int16, np.uint8, np.uint16]
    assert phantom.ct.grid.matches(phantom.labels.grid)
    assert phantom.ct.grid.matches(phantom.nodule_map.grid)
    assert phantom.ct.grid.ras_axes == ((0, 1, 2), (1, 1, 1))


def test_the_right_lung_lies_on_the_right_and_the_heart_on_the_left():
    labels = small_phantom().labels
    right = labels.grid.to_world(np.argwhere(labels.array == RIGHT_LUNG.value))
    left = labels.grid.to_world(np.argwhere(labels.array == LEFT_LUNG.value))
    assert right[:, 0].min() > 0 > left[:, 0].max()
    # At the heart's level the left lung is the smaller one.
    assert (np.abs(right[:, 2] + 45) < 15).sum() > 1.1 * (np.abs(left[:, 2] + 45) < 15).sum()


def test_the_lungs_of_twenty_people_hold_between_2_and_7_litres():
    low, high = np.array([-155.0, -125, -190]), np.array([155.0, 110, 145])
    points = np.random.default_rng(0).uniform(low, high, (6000, 3))
    litres = []
    for seed in range(20):
        right, left = Anatomy(seed).lung_distances(Places.of_points(points))
        litres.append(float(((right < 0) | (left < 0)).mean() * np.prod(high - low) / 1e6))
    assert min(litres) > 2
    assert max(litres) < 7
    assert np.ptp(litres) > 0.5


def test_parenchyma_muscle_fat_and_bone_have_their_hu():
    phantom = bare_phantom()
    lung = phantom.ct.array[phantom.labels.array > 0]
    assert -900 < np.median(lung) < -800
    body = phantom.ct.array[(phantom.ct.array > -200) & (phantom.labels.array == 0)]
    histogram, edges = np.histogram(body, bins=np.arange(-160, 120, 10))
    assert edges[np.argmax(histogram * (edges[:-1] < -50))] in (-120, -110, -100)
    assert 30 <= edges[np.argmax(histogram * (edges[:-1] > 0))] <= 60
    assert (phantom.ct.array > 250).mean() > 0.003


def test_the_back_of_the_lung_is_denser_than_the_front():
    phantom = small_phantom()
    places = np.argwhere(phantom.labels.array == RIGHT_LUNG.value)
    y = phantom.labels.grid.to_world(places)[:, 1]
    hu = phantom.ct.array[tuple(places.T)]
    assert np.median(hu[y < -60]) > np.median(hu[y > 10]) + 15


def test_no_nodule_lies_outside_the_lungs():
    with_nodules, without = small_phantom(), bare_phantom()
    lungs = without.labels.array > 0
    assert len(with_nodules.nodules) == 8
    assert lungs[with_nodules.nodule_map.array > 0].all()
    assert np.array_equal(with_nodules.labels.array == NODULE.value, with_nodules.nodule_map.array > 0)


def test_nodules_are_numbered_from_the_largest():
    nodules = small_phantom().nodules
    assert [n.id for n in nodules] == list(range(1, len(nodules) + 1))
    volumes = [n.volume_mm3 for n in nodules]
    assert volumes == sorted(volumes, reverse=True)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 0.8, 2.0), (1.5, 1.5, 1.2)])
def test_a_12_mm_ball_has_its_volume_and_hu_where_it_was_asked_for_on_any_grid(spacing_mm):
    phantom = close_up(NoduleSpec(12.0, centre_ras_mm=(75.0, -20.0, 0.0), seed=5), spacing_mm)
    (nodule,) = phantom.nodules
    mask = phantom.nodule_map.array == nodule.id
    assert nodule.volume_mm3 == pytest.approx(np.pi / 6 * 12**3, rel=1e-6)
    assert mask.sum() * phantom.ct.voxel_volume_mm3 == pytest.approx(nodule.volume_mm3, rel=0.04)
    centre = phantom.ct.grid.to_world(np.argwhere(mask)).mean(axis=0)
    assert centre == pytest.approx((75, -20, 0), abs=0.7)
    assert nodule.side == "right"
    assert 10 < np.median(phantom.ct.array[mask]) < 65


def test_a_nodule_on_the_pleura_loses_what_would_lie_outside_the_lung():
    phantom = make_phantom(
        PhantomSpec(shape=(190, 140, 40), spacing_mm=(1.5, 1.5, 1.5), nodules=(NoduleSpec(20.0, attachment="pleura"),))
    )
    (nodule,) = phantom.nodules
    whole = np.pi / 6 * 20**3
    counted = (phantom.nodule_map.array == 1).sum() * phantom.ct.voxel_volume_mm3
    assert 0.5 * whole < nodule.volume_mm3 < 0.99 * whole
    assert counted == pytest.approx(nodule.volume_mm3, rel=0.06)


def test_one_lung_and_no_lung():
    assert set(np.unique(small_phantom(0, "left").labels.array)) == {0, LEFT_LUNG.value, NODULE.value}
    assert {n.side for n in small_phantom(0, "right").nodules} == {"right"}
    empty = small_phantom(0, "none")
    assert empty.labels.array.max() == 0
    assert empty.nodules == ()


def test_an_explicit_nodule_outside_the_lungs_is_refused():
    with pytest.raises(ValueError, match="no aerated lung"):
        make_phantom(PhantomSpec(nodules=(NoduleSpec(8, centre_ras_mm=(0, -70, 0)),), **SMALL))


def test_a_child_has_smaller_lungs():
    child = make_phantom(PhantomSpec(seed=0, scale=0.6, nodule_count=2, **SMALL))
    assert lung_litres(child) == pytest.approx(0.6**3 * lung_litres(small_phantom(0)), rel=0.05)


def test_the_noise_has_the_strength_asked_for():
    quiet, loud = (make_phantom(PhantomSpec(seed=0, lungs="none", noise_hu=s, **SMALL)) for s in (0.0, 30.0))
    difference = loud.ct.array[34:54, 30:46, 30:46].astype(float) - quiet.ct.array[34:54, 30:46, 30:46]
    assert difference.std() == pytest.approx(30, rel=0.1)


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="kernel"):
        PhantomSpec(kernel="sharp")
    with pytest.raises(ValueError, match="lungs"):
        PhantomSpec(lungs="three")  # type: ignore[arg-type]


def test_a_field_of_one_voxel_and_one_that_misses_the_lungs_are_drawn_without_nodules():
    for shape, spacing_mm in (((1, 1, 1), (1.0, 1.0, 1.0)), ((6, 6, 4), (2.0, 2.0, 2.0))):
        phantom = make_phantom(PhantomSpec(shape=shape, spacing_mm=spacing_mm))
        assert phantom.nodules == ()
        assert -1024 <= phantom.ct.array.min() <= phantom.ct.array.max() < 1500
