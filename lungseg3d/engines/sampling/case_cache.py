"""Cases prepared once and kept on the disk, for trainings that prepare the same cases in the same way.

In: a data list, transforms, a folder. Out: MONAI data lists of prepared cases. What is kept is found by the content of
a case's files, the transforms and the version of this program; a file that is damaged is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from monai.data import PersistentDataset
from monai.data.utils import pickle_hashing
from monai.utils import convert_to_tensor

import lungseg3d
from lungseg3d.core import OutputError
from lungseg3d.io import make_folder, sha256_of, write_bytes

logger = logging.getLogger(__name__)

_SUM_DIGITS = 16


class PreparedCases(PersistentDataset):
    """MONAI's `PersistentDataset` by content: neither a stale file nor a damaged one gets into a training.

    Each case lies in one file, `<key>-<checksum>.pt`. The key is a SHA-256 of the case (with the content of its files
    in place of their paths), of the transforms and of this program's version; the checksum is that of the file's bytes.
    A file with other bytes is W_CACHE_DAMAGED and is made again; a folder that cannot be written is
    W_CACHE_NOT_WRITTEN, once, and the training goes on without.

    Args:
        data: data list; a text that is the path of a file or folder stands for its content.
        transform: deterministic transforms.
        cache_dir: folder, made when it is missing; None keeps nothing.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: Any, cache_dir: Path | str | None) -> None:
        super().__init__(data, transform, cache_dir=None, hash_transform=pickle_hashing)
        self.folder: Path | None = None
        if cache_dir is not None:
            try:
                self.folder = make_folder(Path(cache_dir))
            except OutputError as error:
                self._give_up(error)

    def _cachecheck(self, item_transformed: Mapping[str, Any]) -> Any:
        """The prepared case, from the folder or made now; MONAI's hook of this name."""
        if self.folder is None:
            return self._prepared(item_transformed)
        key = self._key(item_transformed)
        kept = self._read(self.folder, key)
        if kept is None:
            kept = self._prepared(item_transformed)
            self._write(self.folder, key, kept)
        return kept

    def _prepared(self, item: Mapping[str, Any]) -> Any:
        # Without meta data, as a file holds it: the first training must not see more than the second.
        prepared = self._pre_transform(deepcopy(item))  # type: ignore[no-untyped-call]
        return convert_to_tensor(prepared, convert_numeric=False, track_meta=False)

    def _key(self, item: Mapping[str, Any]) -> str:
        about = [lungseg3d.__version__, self.transform_hash, _with_content(item)]
        return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()

    def _read(self, folder: Path, key: str) -> Any:
        for path in sorted(folder.glob(f"{key}-*.pt")):
            try:
                data = path.read_bytes()
                if hashlib.sha256(data).hexdigest()[:_SUM_DIGITS] != path.stem.rpartition("-")[2]:
                    raise ValueError("its bytes are not those that were written")
                return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            except Exception as error:  # whatever is wrong with it, the case can be prepared again
                said = str(error).splitlines()[0] if str(error) else type(error).__name__
                logger.warning(f"W_CACHE_DAMAGED: {path}: {said}; the case is prepared again.")
                with contextlib.suppress(OSError):  # of another user: the new file takes its place, or is not kept
                    path.unlink(missing_ok=True)
        return None

    def _write(self, folder: Path, key: str, prepared: Any) -> None:
        buffer = io.BytesIO()
        torch.save(prepared, buffer)
        data = buffer.getvalue()
        try:
            write_bytes(folder / f"{key}-{hashlib.sha256(data).hexdigest()[:_SUM_DIGITS]}.pt", data)
        except OutputError as error:
            self._give_up(error)

    def _give_up(self, error: OutputError) -> None:
        logger.warning(f"W_CACHE_NOT_WRITTEN: {error.message} Cases are prepared anew by each training.")
        self.folder = None


def _with_content(value: Any) -> Any:
    """The same with checksums of files and folders in place of their paths."""
    if isinstance(value, Mapping):
        return {str(key): _with_content(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_content(inner) for inner in value]
    if isinstance(value, (str, Path)) and os.sep in str(value) and os.path.exists(value):
        return sha256_of(value)
    return value
