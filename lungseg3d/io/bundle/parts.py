"""What a bundle may be made of: the classes and functions that a configuration may name.

In: nothing. Out: `is_allowed_part`, and the idioms of `$` expressions. Networks, losses, transforms of tensors and the
parts of a training are here; what reads pickles, writes where it is told to, loads from the internet or runs programs
is not (`LoadImaged`, `SaveImaged`, networks that fetch their own weights, ...). Knows no MONAI.
"""

from __future__ import annotations

import re

_OUR_CLASSES = re.compile(r"lungseg3d\.(networks|losses|transforms|engines|inference)\.[A-Z]\w*")
_OUR_FUNCTIONS = {
    "lungseg3d.data.load_datalist",
    "lungseg3d.data.phantom_datalist",
    "lungseg3d.engines.begin_training",
    "lungseg3d.engines.share_network",
    "lungseg3d.engines.unique_run_name",
    "lungseg3d.inference.shipped_bundle",
    "lungseg3d.io.list_cases",
    "lungseg3d.io.shipped_bundle",
}
# MONAI's own are known by their bare name, too.
_MONAI = {
    "monai.networks.nets": """
        AttentionUnet BasicUNet BasicUNetPlusPlus BasicUnet BasicUnetPlusPlus DynUNet DynUnet HighResNet MedNeXt
        MedNeXtB MedNeXtL MedNeXtM MedNeXtS SegResNet SegResNetDS SegResNetVAE SwinUNETR UNETR UNet Unet VNet""",
    "monai.losses": """
        AsymmetricUnifiedFocalLoss DiceCELoss DiceFocalLoss DiceLoss FocalLoss GeneralizedDiceFocalLoss
        GeneralizedDiceLoss GeneralizedWassersteinDiceLoss HausdorffDTLoss LogHausdorffDTLoss SoftDiceclDiceLoss
        SoftclDiceLoss TverskyLoss""",
    "monai.optimizers": "LinearLR Novograd WarmupCosineSchedule",
    "monai.inferers": "SimpleInferer SlidingWindowInferer SlidingWindowInfererAdapt",
    "monai.engines": "PrepareBatchExtraInput SupervisedEvaluator SupervisedTrainer",
    "monai.handlers": """
        CheckpointLoader LrScheduleHandler MeanDice MetricsSaver StatsHandler ValidationHandler""",
    "monai.data": "CacheDataset DataLoader Dataset PersistentDataset",
    "monai.transforms": """
        Activationsd AsDiscreted Compose ConcatItemsd CopyItemsd CropForegroundd DeleteItemsd DivisiblePadd
        EnsureChannelFirstd EnsureTyped FillHolesd KeepLargestConnectedComponentd Lambdad NormalizeIntensityd
        Orientationd RandAffined RandCropByPosNegLabeld RandFlipd RandGaussianNoised RandGaussianSmoothd
        RandRotate90d RandRotated RandScaleIntensityd RandShiftIntensityd RandSpatialCropd RandZoomd Resized
        ScaleIntensityRanged ScaleIntensityd SelectItemsd Spacingd SpatialPadd SplitDimd ThresholdIntensityd""",
}
_OTHERS = {
    *(f"torch.optim.{name}" for name in "Adam AdamW NAdam RAdam RMSprop SGD".split()),
    *(
        f"torch.optim.lr_scheduler.{name}"
        for name in "CosineAnnealingLR CosineAnnealingWarmRestarts ExponentialLR MultiStepLR OneCycleLR PolynomialLR "
        "ReduceLROnPlateau StepLR".split()
    ),
    *(f"torch.nn.{name}" for name in "BCEWithLogitsLoss CrossEntropyLoss L1Loss MSELoss".split()),
    "torch.utils.data.ConcatDataset",
    "ignite.distributed.finalize",
    "ignite.distributed.initialize",
    "os.path.isfile",
}
_PARTS = (
    _OUR_FUNCTIONS
    | _OTHERS
    | {name for names in _MONAI.values() for name in names.split()}
    | {f"{module}.{name}" for module, names in _MONAI.items() for name in names.split()}
)

FUNCTIONS = {
    *("abs", "bool", "float", "int", "len", "max", "min", "round", "str"),
    "monai.data.utils.pickle_hashing",
    "monai.handlers.from_engine",
    "monai.transforms.Compose",
    "monai.utils.set_determinism",
    "torch.cuda.is_available",
    "torch.device",
    "torch.distributed.get_node_local_rank",
    "torch.distributed.get_rank",
    "torch.distributed.get_world_size",
}
"""What an expression may call, or hand on, by its full name."""
METHODS = {"eval", "item", "parameters", "run", "to"}
"""What it may call of what another part of the configuration made."""
ATTRIBUTES = {"best_metric", "evaluator", "network", "state"}
"""What it may look at there."""
PLACES = {"bundle_root", "dataset_dir", "output_dir"}
"""Keys that an expression may make longer paths of."""
PARENT_IDIOMS = {
    "$@bundle_root + '/../lung_ct_segmentation'",
    "$@bundle_root + '/../../../shared/data'",
    "$@output_dir + '/../cache'",
}
"""The only expressions that may lead upwards, all of the bundles that came with this package: the lung bundle beside
the nodule bundle, which is checked itself when it is opened; data, which are read only; a cache for several runs."""


def is_allowed_part(name: str) -> bool:
    """Whether a configuration may name this class or function in `_target_`."""
    return name in _PARTS or _OUR_CLASSES.fullmatch(name) is not None
