"""Air that is not lung: found inside the lungs' box and above it, nowhere else."""

import numpy as np

from lungseg3d.core import Volume
from lungseg3d.tensors import to_meta_tensor
from lungseg3d.transforms import AirOutsideLungsd


def test_the_trachea_is_tempting_and_lung_and_air_beside_the_box_are_not():
    hu = np.full((12, 12, 12), 40, dtype=np.int16)
    lungs = np.zeros(hu.shape, dtype=np.uint8)
    hu[2:5, 2:10, 1:8] = hu[7:10, 2:10, 1:8] = -850
    lungs[2:5, 2:10, 1:8], lungs[7:10, 2:10, 1:8] = 1, 2
    hu[5:7, 5, 6:12] = -1000  # trachea, up to the neck
    hu[11] = -1000  # room air
    hu[3, 3, 0] = -1000  # below the lungs
    case = {name: to_meta_tensor(Volume(array, np.eye(4))) for name, array in (("image", hu), ("label", lungs))}
    tempting = AirOutsideLungsd("image")(case)["centres"].numpy()[0]
    expected = np.zeros(hu.shape, dtype=bool)
    expected[5:7, 5, 6:12] = True
    assert (tempting.astype(bool) == expected).all()
