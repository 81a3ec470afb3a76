"""Floor 4: the Ignite engine that crops and augments ROI sub-volumes itself, in mixed precision."""

from lungseg3d.engines.augmentation.artefacts import MetalStreaks, Occlusion
from lungseg3d.engines.augmentation.geometry import PatchGeometry
from lungseg3d.engines.augmentation.insertion import NoduleInsertion, NoduleSynthesis, OnlyLabels
from lungseg3d.engines.augmentation.intensity import GammaContrast, HuAugmentation, LowResolution
from lungseg3d.engines.augmentation.reader_shares import ReaderShares
from lungseg3d.engines.disease.chronic import Emphysema, Fibrosis
from lungseg3d.engines.disease.effusion import PleuralEffusion
from lungseg3d.engines.disease.opacities import Collapse, Consolidation, GroundGlass
from lungseg3d.engines.disease.tumours import LargeTumour
from lungseg3d.engines.sampling.case_cache import PreparedCases
from lungseg3d.engines.sampling.cases_with import CasesWith
from lungseg3d.engines.sampling.hard_negatives import HardNegatives
from lungseg3d.engines.sampling.mosaics import MosaicSampler
from lungseg3d.engines.sampling.sampler import RoiSampler
from lungseg3d.engines.sampling.sources import LargeFirst, SourceGroup
from lungseg3d.engines.tracking.handler import RunTracking
from lungseg3d.engines.training.average import WeightAverage
from lungseg3d.engines.training.beginning import begin_training
from lungseg3d.engines.training.checkpoints import RunCheckpoints
from lungseg3d.engines.training.early_stop import EarlyStop
from lungseg3d.engines.training.ending import ExitCodes
from lungseg3d.engines.training.pretrained import PretrainedWeights
from lungseg3d.engines.training.processes import share_network
from lungseg3d.engines.training.step_plan import StepPlan
from lungseg3d.engines.training.trainer import RoiTrainer
from lungseg3d.engines.training.validation import MeanDice
from lungseg3d.tracking.run import unique_run_name

__all__ = [
    "CasesWith",
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
    "MosaicSampler",
    "NoduleInsertion",
    "NoduleSynthesis",
    "Occlusion",
    "OnlyLabels",
    "PatchGeometry",
    "PleuralEffusion",
    "PreparedCases",
    "PretrainedWeights",
    "ReaderShares",
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
