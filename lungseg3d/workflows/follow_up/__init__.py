"""`follow-up`: two CTs of one person."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Names that this verb offers from Python, loaded when they are asked for."""
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(import_module("lungseg3d.workflows.follow_up.run"), name)
