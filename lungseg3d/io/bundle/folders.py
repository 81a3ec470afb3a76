"""Where the bundles lie that came with this package.

In: a bundle's name. Out: its folder. Opens no bundle.
"""

from __future__ import annotations

from pathlib import Path

import lungseg3d
from lungseg3d.core import BundleError


def shipped_bundle(name: str) -> Path:
    """The folder of a bundle that came with this package.

    Raises:
        BundleError: E_NO_BUNDLE when there is none of that name.
    """
    package = Path(lungseg3d.__file__).parent
    for folder in (package / "bundles" / name, package.parent / "bundles" / name):
        if (folder / "configs" / "metadata.json").is_file():
            return folder
    raise BundleError("E_NO_BUNDLE", f"no bundle named {name} came with this installation", "Install lungseg3d again.")
