"""Floor 4: MONAI dictionary transforms that only this project has: our reader, our grids, our sources of cases."""

from lungseg3d.transforms.centre_targets import CentreTargetsd, WithoutCentresd
from lungseg3d.transforms.centres import AirOutsideLungsd, DenseCentresd, LabelCentresd, LungCentresd
from lungseg3d.transforms.grids import ToWorkingGridd
from lungseg3d.transforms.noise import LimitNoised, estimate_noise_hu
from lungseg3d.transforms.readers import ReaderSharesd
from lungseg3d.transforms.reading import JoinLabelsd, ReadCTd, ReadLabelsd
from lungseg3d.transforms.sources import (
    EmptyLabeld,
    LungsBelowd,
    LungsByRulesd,
    MakePhantomd,
    fill_from_nearest,
)

__all__ = [
    "AirOutsideLungsd",
    "CentreTargetsd",
    "DenseCentresd",
    "EmptyLabeld",
    "JoinLabelsd",
    "LabelCentresd",
    "LimitNoised",
    "LungCentresd",
    "LungsBelowd",
    "LungsByRulesd",
    "MakePhantomd",
    "ReadCTd",
    "ReadLabelsd",
    "ReaderSharesd",
    "ToWorkingGridd",
    "WithoutCentresd",
    "estimate_noise_hu",
    "fill_from_nearest",
]
