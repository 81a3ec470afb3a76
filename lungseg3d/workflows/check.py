"""`check`: what lies under a path, which CT would be used and why, and what speaks against it.

In: a path. Out: `Inspection`; nothing is written. Reads all voxels, so that "ok" means it.
"""

from __future__ import annotations

from pathlib import Path

from lungseg3d.io import Inspection, ReadOptions, inspect


def check(path: Path | str, options: ReadOptions = ReadOptions()) -> Inspection:  # noqa: B008 - frozen
    """Look at an input as `segment` would read it.

    Never raises for a bad input: its status is `refused` and its last issue says why.
    """
    return inspect(path, options)
