"""How much memory a CT will take, asked of its header before a voxel is decoded.

In: numbers from headers. Out: nothing, or E_MEMORY_BUDGET with the estimate, the budget and the ways out. Knows no file
format.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lungseg3d.core import LungSegError

_GIB = 2**30


@dataclass(frozen=True)
class MemoryBudget:
    """What may be taken, and what a CT takes.

    Attributes:
        most_bytes: of memory, all processes of a run together.
        base_bytes: what any CT takes: programs, networks, what they work on at their own spacing.
        bytes_per_voxel: what each voxel of the CT takes once it is read.
        reading_bytes_per_voxel: what each voxel takes while it is read, its bytes in the file not counted.
    """

    most_bytes: int
    base_bytes: int
    bytes_per_voxel: float
    reading_bytes_per_voxel: float = 5.0

    def needed_bytes(self, shape: Sequence[int], stored_bytes_per_voxel: float) -> int:
        """The most memory that a CT of this shape takes at any time, all of its file's voxels held while it is read."""
        reading = self.reading_bytes_per_voxel + stored_bytes_per_voxel
        return math.ceil(self.base_bytes + math.prod(map(int, shape)) * max(reading, self.bytes_per_voxel))

    def check(self, name: str, shape: Sequence[int], stored_bytes_per_voxel: float) -> None:
        """Refuse a CT that does not fit.

        Args:
            name: of the file, for the message.
            shape: numbers of voxels, as its header says.
            stored_bytes_per_voxel: in the file, decompressed.

        Raises:
            LungSegError: E_MEMORY_BUDGET.
        """
        needed = self.needed_bytes(shape, stored_bytes_per_voxel)
        if needed <= self.most_bytes:
            return
        share = math.floor(100 * max(0, self.most_bytes - self.base_bytes) / (needed - self.base_bytes))
        enough_gib = math.ceil(10 * needed / _GIB) / 10
        smaller = f"crop it to {share} % of its voxels, or " if share > 0 else ""
        raise LungSegError(
            "E_MEMORY_BUDGET",
            f"{name}: {' x '.join(str(n) for n in shape)} voxels take about {needed / _GIB:.1f} GiB, and --max-memory "
            f"allows {self.most_bytes / _GIB:.1f} GiB. Nothing was decoded.",
            f"Give --max-memory {enough_gib:.1f} or more, {smaller}resample it to thicker slices.",
        )
