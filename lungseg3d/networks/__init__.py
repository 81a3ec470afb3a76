"""Floor 4: the networks that MONAI does not have. Every one keeps the contract of the design: image in, logits out."""

from lungseg3d.networks.any_size import AnySize3d
from lungseg3d.networks.centred_unet import CentredUNet3d
from lungseg3d.networks.dual_attention_unet import DualAttentionUNet3d
from lungseg3d.networks.fusion_unet import FusionUNet3d
from lungseg3d.networks.light_unet import LightUNet3d
from lungseg3d.networks.s3tu import S3TUNet3d
from lungseg3d.networks.se_unet import SEUNet3d
from lungseg3d.networks.swin_hybrid import SwinHybrid3d

__all__ = [
    "AnySize3d",
    "CentredUNet3d",
    "DualAttentionUNet3d",
    "FusionUNet3d",
    "LightUNet3d",
    "S3TUNet3d",
    "SEUNet3d",
    "SwinHybrid3d",
]
