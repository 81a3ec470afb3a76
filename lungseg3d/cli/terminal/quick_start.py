"""MONAI imported without what a segmentation never asks it for: half of the seconds before the first network runs.

In: nothing. Out: MONAI in `sys.modules`. Only for a process that segments with the shipped bundles and then ends:
another bundle may name what needs the companions.

MONAI imports all of itself, and with it whatever it may work with if that is installed: Ignite, MLflow, plots, tables,
other readers of images. It takes each of them for missing here; whoever else imports them afterwards gets them.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar

OWN_PROCESS: ContextVar[bool] = ContextVar("own_process", default=False)
"""Whether the process was started as the program `lungseg3d`, and ends with the verb that runs in it."""
_UNASKED = (
    "ignite",
    "itk",
    "matplotlib",
    "mlflow",
    "pandas",
    "scipy.signal",
    "skimage",
    "sklearn",
    "tensorboard",
    "tensorboardX",
    "transformers",
)


def import_monai_to_segment() -> None:
    """Import MONAI without its companions; nothing in a process of others, or where it has been imported already."""
    if not OWN_PROCESS.get() or "monai" in sys.modules:
        return
    with _hidden(_UNASKED):
        importlib.import_module("monai.bundle")
        importlib.import_module("monai.transforms")


@contextlib.contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Packages that nobody has imported yet cannot be imported inside the block."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
