"""Names of reconstruction kernels: which are sharp.

In: ConvolutionKernel as a scanner writes it. Out: yes or no. Networks for nodules learned mostly from softer kernels.
"""

from __future__ import annotations

_SHARP = {"L", "LUNG", "D", "E"}
# Siemens B60-B89, Bl5x, Br6x-Br8x; GE LUNG, BONE, EDGE; Canon FC5x, FC8x; Philips YC.
_SHARP_PREFIXES = ("B6", "B7", "B8", "BL5", "BR6", "BR7", "BR8", "LUNG", "BONE", "EDGE", "FC5", "FC8", "YC")


def is_lung_kernel(kernel: str) -> bool:
    """A sharp kernel (lung, bone, edge), by the names that Siemens, GE, Philips and Canon give."""
    name = kernel.upper().strip()
    return name in _SHARP or name.startswith(_SHARP_PREFIXES)
