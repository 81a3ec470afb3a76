"""Voxel data of NRRD and MetaImage: where they may lie, and that all of them are there.

In: what a header says of its voxels. Out: exactly these voxels, or a refusal.
"""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO

import numpy as np

from lungseg3d.io.intake.limits import check_claim, check_memory
from lungseg3d.io.intake.links import LeftLink, link_rule, links_error
from lungseg3d.io.intake.reading import Findings, ReadOptions, refuse, shown

_AGAIN = "Write or copy the file again from its source."
_CHUNK = 16 * 2**20


@dataclass(frozen=True)
class VoxelBlock:
    """The voxels that a header promises.

    Attributes:
        name: of the header, for messages.
        path, offset: file that holds them, and their first byte in it.
        encoding: `raw`, `gzip`, `zlib` or `bzip2`.
        sizes: numbers of voxels, the axis that varies fastest first.
        dtype: of a voxel, with its byte order.
    """

    name: str
    path: Path
    offset: int
    encoding: str
    sizes: Sequence[int]
    dtype: np.dtype

    def read(self, findings: Findings) -> np.ndarray:
        """The array (X, Y, Z, ...).

        Raises:
            IntakeError: E_TRUNCATED, E_CORRUPT.
        """
        expected = int(np.prod(self.sizes, dtype=np.int64)) * self.dtype.itemsize
        data = read_block(self.path, self.offset, expected, self.encoding, self.name, findings)
        return np.frombuffer(data, self.dtype).reshape(self.sizes, order="F")


def find_block(
    header: Path,
    offset: int,
    reference: str | None,
    encoding: str,
    sizes: Sequence[int],
    dtype: np.dtype,
    options: ReadOptions,
) -> VoxelBlock:
    """Find the voxels of a header, and refuse sizes that no CT has or that memory does not hold.

    Args:
        header: the file with the header.
        offset: of the first byte behind the header.
        reference: the data file that the header names; None where the voxels follow the header.
        encoding, sizes, dtype: see `VoxelBlock`.
        options: rules of links and memory.

    Raises:
        IntakeError: E_RESOURCE_LIMIT, or as `check_detached`.
    """
    name, source = shown(header), header
    if reference is not None:
        source, offset = check_detached(header, reference, options), 0
    stored_bytes = None if encoding == "raw" else source.stat().st_size - offset
    check_claim(name, sizes, dtype.itemsize, stored_bytes)
    check_memory(name, sizes, dtype.itemsize, options)
    return VoxelBlock(name, source, offset, encoding, sizes, dtype)


def check_detached(header: Path, reference: str, options: ReadOptions) -> Path:
    """The data file that a header names, if it lies in the header's own folder; a link there is followed by the rule.

    Raises:
        IntakeError: E_DETACHED_DATA for anything else: other folders, lists, absent files, links that lead out;
            E_LINK_BROKEN for a link to nothing.
    """
    name = shown(header)
    remedy = "Write it as one file, or put the data beside the header."
    path = header.parent / reference
    if "/" in reference or PureWindowsPath(reference).name != reference or reference in ("", ".", ".."):
        refuse("E_DETACHED_DATA", f"{name}: the voxels lie elsewhere ({shown(reference)}).", remedy)
    if not _is_there(path) and options.follow_links:  # the header is a link, and its data lie beside its target
        path = Path(os.path.realpath(header)).parent / reference
    if _is_there(path) and (why := link_rule(header, options).why_not(path)):
        error = links_error([LeftLink(path, why)], header)
        refuse("E_DETACHED_DATA" if why == "outside" else error.code, error.message, error.remedy)
    if not _is_there(path) or not path.is_file():
        refuse("E_DETACHED_DATA", f"{name}: {shown(reference)} is not a file in the same folder.", remedy)
    return path


def _is_there(path: Path) -> bool:
    try:
        os.lstat(path)
    except (OSError, ValueError):  # absent, or a name that no file can have
        return False
    return True


def read_block(path: Path, offset: int, expected: int, encoding: str, name: str, findings: Findings) -> bytearray:
    """`expected` bytes from `offset` on, after decoding `raw`, `gzip`, `zlib` or `bzip2`.

    Raises:
        IntakeError: E_TRUNCATED, E_CORRUPT.
    """
    try:
        with open(path, "rb") as plain:
            plain.seek(offset)
            if encoding == "zlib":
                return _read_zlib(plain, expected, name)
            stream: IO[bytes] = plain
            if encoding == "gzip":
                stream = gzip.GzipFile(fileobj=plain, mode="rb")  # type: ignore[assignment]
            elif encoding == "bzip2":
                stream = bz2.BZ2File(plain)
            return _read_stream(stream, expected, name, findings)
    except EOFError:
        refuse("E_TRUNCATED", f"{name}: the compressed data end too early.", _AGAIN)
    except (gzip.BadGzipFile, zlib.error, OSError) as error:
        refuse("E_CORRUPT", f"{name}: the compressed data are damaged ({error}).", _AGAIN)


def _read_stream(stream: IO[bytes], expected: int, name: str, findings: Findings) -> bytearray:
    data = bytearray()
    while len(data) < expected:
        part = stream.read(min(_CHUNK, expected - len(data)))
        if not part:
            refuse("E_TRUNCATED", f"{name}: expected {expected} bytes of voxels, got {len(data)}.", _AGAIN)
        data += part
    try:
        trailing = bool(stream.read(2**20))  # also makes gzip check its sum
    except gzip.BadGzipFile as error:
        if "Not a gzipped file" not in str(error):
            raise
        trailing = True
    if trailing:
        findings.warn("W_TRAILING_BYTES", f"{name}: bytes after the voxels are ignored.")
    return data


def _read_zlib(plain: IO[bytes], expected: int, name: str) -> bytearray:
    engine = zlib.decompressobj()
    data = bytearray()
    pending = b""
    while not engine.eof and len(data) <= expected:
        pending = engine.unconsumed_tail or plain.read(2**20)
        if not pending:
            raise EOFError
        data += engine.decompress(pending, _CHUNK)
    if len(data) != expected:
        refuse("E_TRUNCATED", f"{name}: expected {expected} bytes of voxels, got {len(data)}.", _AGAIN)
    return data
