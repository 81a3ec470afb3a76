"""How much one input may claim, asked before any memory is taken for it.

In: numbers from headers. Out: nothing, or a refusal E_RESOURCE_LIMIT. Knows no file format.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import BinaryIO

from lungseg3d.io.intake.reading import ReadOptions, refuse

MAX_VOXELS = 2**31
"""4 GiB of int16: 2000 slices of 1024 x 1024 fit."""
MAX_BYTES = 8 * 2**30
MAX_FILES = 200_000
# Beyond these sizes, data that shrank by more than this are a bomb and not a CT: noise does not compress so well.
_BOMBS = ((2**30, 200), (2**28, 800))
_DEFLATED_FREE_BYTES, _DEFLATED_RATIO = 64 * 2**20, 100
_CHUNK = 2**20


def check_claim(name: str, shape: Sequence[int], bytes_per_voxel: float, stored_bytes: int | None = None) -> None:
    """Refuse what a header claims when it is beyond any CT.

    Args:
        name: the file, for the message.
        shape: numbers of voxels, as claimed.
        bytes_per_voxel: as claimed.
        stored_bytes: compressed bytes on disk, or None when not compressed.

    Raises:
        IntakeError: E_RESOURCE_LIMIT.
    """
    voxels = math.prod(int(n) for n in shape)
    size = voxels * bytes_per_voxel
    extent = " x ".join(str(n) for n in shape)
    if voxels > MAX_VOXELS or size > MAX_BYTES:
        refuse(
            "E_RESOURCE_LIMIT",
            f"{name}: the header claims {extent} voxels ({size / 2**30:.1f} GiB); the limit is {MAX_VOXELS} voxels.",
            "Check the file; a CT of this size must be cropped or split first.",
        )
    for most_bytes, most_ratio in _BOMBS if stored_bytes is not None else ():
        if size > most_bytes and size > most_ratio * max(stored_bytes or 0, 1):
            refuse(
                "E_RESOURCE_LIMIT",
                f"{name}: {stored_bytes} compressed bytes claim {extent} voxels ({size / 2**30:.1f} GiB), "
                f"more than {most_ratio}:1, which no CT reaches.",
                "Check where the file comes from; write it again without compression if it is real.",
            )


def check_memory(name: str, shape: Sequence[int], bytes_per_voxel: float, options: ReadOptions) -> None:
    """Refuse a CT that does not fit in the memory that was set aside, where any was: `ReadOptions.memory`.

    Raises:
        LungSegError: E_MEMORY_BUDGET.
    """
    if options.memory is not None:
        options.memory.check(name, shape, bytes_per_voxel)


def inflate(name: str, stream: BinaryIO, deflated_bytes: int) -> bytes:
    """Raw deflate data (as in DICOM deflated explicit VR) -> bytes, stopping early on a bomb.

    Raises:
        IntakeError: E_RESOURCE_LIMIT when it grows beyond 100:1 and 64 MiB; E_UNREADABLE_SLICE when it is broken.
    """
    most = max(_DEFLATED_FREE_BYTES, min(_DEFLATED_RATIO * deflated_bytes, MAX_BYTES))
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    parts: list[bytes] = []
    size = 0
    try:
        while chunk := stream.read(_CHUNK):
            while chunk:
                part = engine.decompress(chunk, _CHUNK)
                chunk = engine.unconsumed_tail
                parts.append(part)
                size += len(part)
                if size > most:
                    refuse(
                        "E_RESOURCE_LIMIT",
                        f"{name}: {deflated_bytes} deflated bytes grow beyond {most} bytes.",
                        "Check where the file comes from.",
                    )
        parts.append(engine.flush())
    except zlib.error as error:
        refuse("E_UNREADABLE_SLICE", f"{name}: the deflated data are broken ({error}).", "Export the series again.")
    if not engine.eof:
        refuse("E_UNREADABLE_SLICE", f"{name}: the deflated data end too early.", "Export the series again.")
    return b"".join(parts)
