"""Floor 2: datasets, the thorax phantom, synthetic nodules. NumPy and SciPy, never torch."""

from lungseg3d.data.implants import Donor, free_places, implant, random_turn
from lungseg3d.data.manifests import (
    label_structures,
    load_datalist,
    make_nodules_lidc_manifest,
    phantom_datalist,
    read_manifest,
)
from lungseg3d.data.phantom import Phantom, PhantomNodule, PhantomSpec, make_phantom
from lungseg3d.data.phantom_nodules import (
    NoduleSpec,
    Texture,
    make_nodule_specs,
    nodule_box,
    nodule_hu,
    nodule_occupancy,
)

__all__ = [
    "Donor",
    "NoduleSpec",
    "Phantom",
    "PhantomNodule",
    "PhantomSpec",
    "Texture",
    "free_places",
    "implant",
    "label_structures",
    "load_datalist",
    "make_nodule_specs",
    "make_nodules_lidc_manifest",
    "make_phantom",
    "nodule_box",
    "nodule_hu",
    "nodule_occupancy",
    "phantom_datalist",
    "random_turn",
    "read_manifest",
]
