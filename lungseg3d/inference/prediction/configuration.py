"""Checked contents of a bundle -> a MONAI `ConfigParser`, as if it had read the files itself.

In: `CheckedBundle`. Out: the parser, its root set. Opens no file: what is evaluated is what was checked.
"""

from __future__ import annotations

import copy

from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

from lungseg3d.core import BundleError
from lungseg3d.io import CheckedBundle


def parser_of(bundle: CheckedBundle) -> ConfigParser:
    """A parser of the configurations, later ones over earlier ones as MONAI merges files, and of the metadata.

    Raises:
        BundleError: E_CONFIGURATION when they cannot be merged, such as a key below one that is not there.
    """
    merged = ConfigParser(config={})
    for content in bundle.configs:
        for key, value in copy.deepcopy(content).items():
            try:
                merge_kv(merged, key, value)
            except (LookupError, ValueError, TypeError, AttributeError) as error:
                text = f"{bundle.root.name}: the configuration's key {key} cannot be set ({type(error).__name__})"
                raise BundleError("E_CONFIGURATION", text, "Mend it, or take the bundle again.") from error
    parser = ConfigParser()
    parser.read_config(merged.get())
    if bundle.metadata is not None:
        parser.read_meta(copy.deepcopy(bundle.metadata))
    parser["bundle_root"] = str(bundle.root)
    return parser
