"""Floor 4: the losses that MONAI does not have. The shipped bundles use MONAI's own."""

__all__: list[str] = []
