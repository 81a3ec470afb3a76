"""Floor 4: the networks that MONAI does not have. Every one keeps the contract of the design: image in, logits out."""

from lungseg3d.networks.any_size import AnySize3d
from lungseg3d.networks.light_unet import LightUNet3d

__all__ = ["AnySize3d", "LightUNet3d"]
