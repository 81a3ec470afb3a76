"""A phantom pair is what it says: one person, moved and grown as asked, the same from the same seed."""

from functools import lru_cache

import numpy as np
import pytest

from lungseg3d.data import NoduleSpec
from lungseg3d.data.phantom.breathing import Motion
from lungseg3d.data.phantom.pairs import PairSpec, PhantomPair, PlannedNodule, make_phantom_pair
from lungseg3d.data.phantom.thorax import PhantomSpec, make_phantom

GRID = PhantomSpec(shape=(84, 74, 70), spacing_mm=(4.0, 4.0, 4.0), noise_hu=10)
THICK = PhantomSpec(shape=(84, 74, 36), spacing_mm=(4.0, 4.0, 8.0), kernel="lung", noise_hu=10)
TINY = PhantomSpec(shape=(42, 37, 35), spacing_mm=(8.0, 8.0, 8.0), noise_hu=10)
PLANS = (
    PlannedNodule(NoduleSpec(20, seed=1, centre_ras_mm=(70, 0, 0)), (20.0, 25.0)),
    PlannedNodule(NoduleSpec(20, seed=2, centre_ras_mm=(-75, -20, -20)), (None, 18.0)),
    PlannedNodule(NoduleSpec(20, seed=3, centre_ras_mm=(60, -30, 50)), (18.0, None)),
)


@lru_cache(maxsize=1)
def pair() -> PhantomPair:
    return make_phantom_pair(PairSpec(1, 5, PLANS, GRID, THICK, diaphragm_mm=10.0))


def test_motion_and_its_inverse_bring_a_place_back():
    motion = Motion.of(3, 20.0)
    places = np.random.default_rng(0).uniform(-130, 130, (200, 3))
    assert motion.to_prior(motion.to_current(places)) == pytest.approx(places, abs=0.01)
    assert Motion.none().to_current(places) == pytest.approx(places)


def test_a_deeper_breath_moves_the_bases_down_and_hardly_the_apices():
    motion = Motion(20.0, np.eye(3), np.zeros(3), np.zeros((1, 3)), np.zeros(1), np.zeros((1, 3)))
    base, apex = motion.to_current(np.array([(60.0, 0, -100), (60.0, 0, 105)]))
    assert base[2] == pytest.approx(-120, abs=1)
    assert apex[2] == pytest.approx(105, abs=0.5)


def test_growth_arrival_and_loss_are_as_planned():
    grown, new, gone = sorted(pair().nodules, key=lambda nodule: nodule.plan.spec.seed)
    assert grown.volumes_mm3[1] / grown.volumes_mm3[0] == pytest.approx((25 / 20) ** 3, rel=0.01)
    assert (new.ids[0], gone.ids[1]) == (None, None)
    assert (new.volumes_mm3[0], gone.volumes_mm3[1]) == (0, 0)


def test_every_nodule_lies_where_the_pair_says():
    for nodule in pair().nodules:
        for phantom, number, centre in zip(
            (pair().prior, pair().current), nodule.ids, nodule.centres_ras_mm, strict=True
        ):
            if number is not None:
                voxels = np.argwhere(phantom.nodule_map.array == number)
                found = phantom.nodule_map.grid.to_world(voxels.mean(axis=0))
                assert found == pytest.approx(centre, abs=3.0)
                assert len(voxels) * phantom.ct.voxel_volume_mm3 == pytest.approx(
                    nodule.volumes_mm3[phantom is pair().current], rel=0.1
                )


def test_the_lungs_of_the_second_ct_are_those_of_the_first_moved():
    prior, current = pair().prior.labels, pair().current.labels
    inside = np.argwhere(prior.array > 0)[::50]
    places = pair().motion.to_current(prior.grid.to_world(inside))
    voxels = np.rint(current.grid.to_voxel(places)).astype(int)
    kept = np.all((voxels >= 0) & (voxels < current.shape), axis=1)
    assert (current.array[tuple(voxels[kept].T)] > 0).mean() > 0.93
    assert current.shape == THICK.shape


def test_the_first_ct_is_the_person_of_the_single_phantom():
    plain = make_phantom(PhantomSpec(**{**vars(TINY), "seed": 1, "nodule_count": 0, "noise_hu": 0}))
    still = make_phantom_pair(PairSpec(1, 5, (), PhantomSpec(**{**vars(TINY), "noise_hu": 0}), TINY))
    assert np.array_equal(still.prior.ct.array, plain.ct.array)


def test_the_same_seed_gives_the_same_bytes():
    spec = PairSpec(1, 6, PLANS[:1], TINY, TINY, diaphragm_mm=10.0)
    once, twice = make_phantom_pair(spec), make_phantom_pair(spec)
    assert once.current.ct.array.tobytes() == twice.current.ct.array.tobytes()
    assert once.prior.ct.array.tobytes() == twice.prior.ct.array.tobytes()


def test_a_nodule_that_is_never_there_is_refused():
    with pytest.raises(ValueError, match="is there in the prior or in the current"):
        PlannedNodule(NoduleSpec(5), (None, None))
