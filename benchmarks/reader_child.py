"""One reader at work on many inputs, in a process that may crash: `python -m benchmarks.reader_child PEER FOLDER`.

In: lines on stdin, each an id and what is expected; the inputs were made by `readers.py` (`FOLDER/<id>/made.pickle`).
Out: on stdout `ready`, then one JSON line an input: what came of it, and why.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.reader_peers import PEERS, Peer
from lungseg3d.core import Volume
from tests.corpus import Made, difference

MEMORY_GIB = 8
_IRRELEVANT = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning)
# MONAI says at every input that an optional decoder is not installed, dcm2niix that a phantom has no manufacturer.
_NOT_ABOUT_THE_INPUT = ("nvImageCodec", "determine manufacturer")


class _Words(logging.Handler):
    """Keeps what is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(str(record.msg))


def judge(found: Volume, made: Made) -> str:
    """What is wrong with a volume, generously; empty when nothing is.

    Below -1000 HU there is no patient: padding counts as air, and NaN too. Where the truth is sheared, a volume that
    was resampled to right angles is right when it agrees inside the regions of the phantom.
    """
    wrongs = []
    for truth in (made.truth, *made.also):
        if truth is None:
            return "no volume can be right"
        plain = np.maximum(np.nan_to_num(found.array.astype(np.float64), nan=-1000, posinf=1e9), -1000)
        wrong = difference(Volume(plain, found.affine), truth, max(made.tolerance_hu, 0.5))
        if wrong and not truth.grid.is_orthogonal and _agrees_resampled(Volume(plain, found.affine), truth):
            wrong = ""
        wrongs.append(wrong)
    return "" if "" in wrongs else wrongs[0]


def _agrees_resampled(found: Volume, truth: Volume) -> bool:
    """Linear interpolation at the true places gives the true values, away from edges of the phantom."""
    air = truth.array == -1000
    lung = (truth.array < -500) & ~air
    body = ~air & ~lung
    inside = np.argwhere(
        np.any([ndimage.binary_erosion(region, np.ones((3, 3, 3))) for region in (lung, body)], axis=0)
    )
    places = found.grid.to_voxel(truth.grid.to_world(inside))
    values = ndimage.map_coordinates(found.array, places.T, order=1, cval=-3000)
    off = np.abs(values - truth.array[tuple(inside.T)])
    return bool(np.median(off) <= 1 and np.quantile(off, 0.95) <= 5)


def verdict(peer: Peer, made: Made, expected: str) -> tuple[str, str]:
    """(`right`, `flagged`, `silently wrong`, `refused` or `refused valid`, and why)."""
    words = _Words()
    logging.getLogger().addHandler(words)
    with tempfile.TemporaryFile() as spoken, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        stderr = os.dup(2)
        os.dup2(spoken.fileno(), 2)
        try:
            volumes = peer.read(made.path)
        except (Exception, SystemExit) as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            return ("refused" if expected == "refused" else "refused valid"), text
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            logging.getLogger().removeHandler(words)
        spoken.seek(0)
        said = [line for line in spoken.read().decode(errors="replace").splitlines() if line.strip()]
    said += words.said + [str(w.message) for w in warned if not issubclass(w.category, _IRRELEVANT)]
    said = [text for text in said if not any(word in text for word in _NOT_ABOUT_THE_INPUT)]
    wrongs = [judge(volume, made) for volume in volumes]
    if "" in wrongs:
        return "right", " | ".join(said)
    if said:
        return "flagged", f"{wrongs[0]}; said: {' | '.join(said)}"
    return "silently wrong", wrongs[0]


def main() -> None:
    """Command line."""
    peer, folder = PEERS[sys.argv[1]], Path(sys.argv[2])
    limit = MEMORY_GIB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What readers print must not mix with the results.
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with contextlib.suppress(Exception, SystemExit), tempfile.TemporaryDirectory() as empty:
        peer.read(Path(empty, "absent"))  # what a reader says while it is imported is not about an input
    print("ready", file=results)
    for line in sys.stdin:
        case_id, expected = line.split()
        made = pickle.loads((folder / case_id / "made.pickle").read_bytes())  # written by readers.py in this run
        start = time.perf_counter()
        found, why = verdict(peer, made, expected)
        print(
            json.dumps({"id": case_id, "verdict": found, "why": why[:300], "seconds": time.perf_counter() - start}),
            file=results,
        )


if __name__ == "__main__":
    main()
