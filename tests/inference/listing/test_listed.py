"""The list that a bundle's own run writes: the shipped point parts findings, and no mask is lost."""

import numpy as np
import pytest

from lungseg3d.core import BundleError, Volume
from lungseg3d.inference import ListFindingsd
from lungseg3d.io import shipped_bundle
from lungseg3d.tensors import to_meta_tensor, to_volume

SHIPPED = shipped_bundle("lung_nodule_ct_segmentation")


def scene():
    """A lung of 40 mm with two solid findings, the first of raw confidence 0.7, the second of 0.95."""
    hu, lungs = np.full((40, 40, 40), -850, np.int16), np.ones((40, 40, 40), np.uint8)
    nodules, labels = np.zeros((40, 40, 40), np.int16), lungs.copy()
    for value, start in ((1, 8), (2, 24)):
        place = (slice(start, start + 6),) * 3
        hu[place], nodules[place], labels[place] = 30, value, 3
    volumes = {"ct": hu, "lungs": lungs, "labels": labels, "nodules": nodules}
    data = {key: to_meta_tensor(Volume(array, np.eye(4))) for key, array in volumes.items()}
    data["nodules"].meta["confidence"] = [0.7, 0.95]
    return data, nodules


def test_the_run_of_a_bundle_lists_at_its_default_point_and_keeps_the_rest_apart():
    data, before = scene()
    done = ListFindingsd("nodules", bundle_root=str(SHIPPED))(data)
    listed, apart, labels = (to_volume(done[key]).array for key in ("nodules", "candidates", "labels"))
    assert np.array_equal(listed == 1, before == 2)
    assert np.array_equal(apart == 2, before == 1)
    assert np.array_equal(labels == 3, before == 2)
    assert (labels[before == 1] == 1).all()
    assert (done["nodules"].meta["confidence"], done["candidates"].meta["confidence"]) == ([0.95], [0.7])


def test_a_bundle_without_points_lists_everything_and_has_no_other_point(tmp_path):
    data, before = scene()
    done = ListFindingsd("nodules", bundle_root=str(tmp_path))(data)
    assert np.array_equal(to_volume(done["nodules"]).array > 0, before > 0)
    with pytest.raises(BundleError, match="E_NO_OPERATING_POINT"):
        ListFindingsd("nodules", bundle_root=str(tmp_path), operating_point="sensitive")
