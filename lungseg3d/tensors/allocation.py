"""The allocator told to keep what is freed: a window's features are as large as those of the window before.

In: nothing. Out: whether it was told. glibc gives large blocks back to the system when they are freed, and the kernel
then clears every page anew for the next one, which costs a convolutional network 5 to 20 % of its time.
"""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_MIB = 2**20


def keep_freed_memory(blocks_mib: int = 64, kept_mib: int = 256) -> bool:
    """Keep up to `kept_mib` of freed memory at the heap's end, and serve blocks up to `blocks_mib` from the heap.

    Whole CTs are larger, and go back at once. The user's own `MALLOC_...` variables are left to rule.

    Returns:
        False where the C library is not glibc, or where the user has set it.
    """
    if any(name.startswith(("MALLOC_TRIM", "MALLOC_MMAP")) for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(_MMAP_THRESHOLD, blocks_mib * _MIB) and mallopt(_TRIM_THRESHOLD, kept_mib * _MIB))
