"""lungseg3d: a CT series in, lungs and lung nodules out - segmented, measured, checked and exportable.

Research use only; not a medical device.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lungseg3d")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
