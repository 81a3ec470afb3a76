"""Floor 2: datasets, the thorax phantom, synthetic nodules. NumPy and SciPy, never torch."""

from lungseg3d.data.phantom import Phantom, PhantomNodule, PhantomSpec, make_phantom
from lungseg3d.data.phantom_nodules import NoduleSpec, make_nodule_specs, nodule_box, nodule_hu, nodule_occupancy

__all__ = [
    "NoduleSpec",
    "Phantom",
    "PhantomNodule",
    "PhantomSpec",
    "make_nodule_specs",
    "make_phantom",
    "nodule_box",
    "nodule_hu",
    "nodule_occupancy",
]
