"""Floor 4: the losses that MONAI does not have, and the one that joins them to networks with several outputs."""

from lungseg3d.losses.boundary import NearBoundaryLoss
from lungseg3d.losses.centre_focal import CentreFocalLoss
from lungseg3d.losses.extras import LossWithExtras
from lungseg3d.losses.focal_tversky import FocalTverskyLoss
from lungseg3d.losses.reader_shares import ReaderShareLoss
from lungseg3d.losses.weighted_sum import WeightedSum

__all__ = [
    "CentreFocalLoss",
    "FocalTverskyLoss",
    "LossWithExtras",
    "NearBoundaryLoss",
    "ReaderShareLoss",
    "WeightedSum",
]
