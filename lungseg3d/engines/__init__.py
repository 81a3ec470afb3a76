"""Floor 4: the Ignite engine that crops and augments ROI sub-volumes itself, in mixed precision."""

from lungseg3d.engines.augmentation import HuAugmentation
from lungseg3d.engines.insertion import NoduleInsertion, NoduleSynthesis
from lungseg3d.engines.sampling import RoiSampler, SourceGroup
from lungseg3d.engines.tracking import unique_run_name
from lungseg3d.engines.trainer import RoiTrainer

__all__ = [
    "HuAugmentation",
    "NoduleInsertion",
    "NoduleSynthesis",
    "RoiSampler",
    "RoiTrainer",
    "SourceGroup",
    "unique_run_name",
]
