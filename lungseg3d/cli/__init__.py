"""Floor 6: the program `lungseg3d <verb>`: parse, call, print, exit code. Loads neither torch nor MONAI."""

from lungseg3d.cli.program import app, main

__all__ = ["app", "main"]
