"""Floor 4: the Ignite engine that crops and augments ROI sub-volumes itself, in mixed precision."""

from lungseg3d.engines.artefacts import MetalStreaks, Occlusion
from lungseg3d.engines.augmentation import GammaContrast, HuAugmentation, LowResolution
from lungseg3d.engines.average import WeightAverage
from lungseg3d.engines.beginning import begin_training
from lungseg3d.engines.case_cache import PreparedCases
from lungseg3d.engines.checkpoints import RunCheckpoints
from lungseg3d.engines.chronic_disease import Emphysema, Fibrosis
from lungseg3d.engines.early_stop import EarlyStop
from lungseg3d.engines.effusion import PleuralEffusion
from lungseg3d.engines.ending import ExitCodes
from lungseg3d.engines.geometry import PatchGeometry
from lungseg3d.engines.hard_negatives import HardNegatives
from lungseg3d.engines.insertion import NoduleInsertion, NoduleSynthesis, OnlyLabels
from lungseg3d.engines.opacities import Collapse, Consolidation, GroundGlass
from lungseg3d.engines.pretrained import PretrainedWeights
from lungseg3d.engines.processes import share_network
from lungseg3d.engines.sampling import RoiSampler
from lungseg3d.engines.sources import LargeFirst, SourceGroup
from lungseg3d.engines.step_plan import StepPlan
from lungseg3d.engines.tracking import RunTracking
from lungseg3d.engines.tracking_run import unique_run_name
from lungseg3d.engines.trainer import RoiTrainer
from lungseg3d.engines.tumours import LargeTumour
from lungseg3d.engines.validation import MeanDice

__all__ = [
    "Collapse",
    "Consolidation",
    "EarlyStop",
    "Emphysema",
    "ExitCodes",
    "Fibrosis",
    "GammaContrast",
    "GroundGlass",
    "HardNegatives",
    "HuAugmentation",
    "LargeFirst",
    "LargeTumour",
    "LowResolution",
    "MeanDice",
    "MetalStreaks",
    "NoduleInsertion",
    "NoduleSynthesis",
    "Occlusion",
    "OnlyLabels",
    "PatchGeometry",
    "PleuralEffusion",
    "PreparedCases",
    "PretrainedWeights",
    "RoiSampler",
    "RoiTrainer",
    "RunCheckpoints",
    "RunTracking",
    "SourceGroup",
    "StepPlan",
    "WeightAverage",
    "begin_training",
    "share_network",
    "unique_run_name",
]
