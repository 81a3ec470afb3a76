"""Floor 4: the networks that MONAI does not have. Every one keeps the contract of the design: image in, logits out."""

from lungseg3d.networks.light_unet import LightUNet3d

__all__ = ["LightUNet3d"]
