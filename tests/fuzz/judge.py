"""One input given to the reader: read, refused as it should be, or a finding.

In: a `Seed` and an empty folder. Out: `Verdict`. Fine is a CT that is whole (int16, finite grid), or a `LungSegError`
with a known code, a remedy and at most 3 short lines that name no folder of the disk. Everything else is a finding.
"""

from __future__ import annotations

import json
import random
import re
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungseg3d.core import CODES, IntakeError, LungSegError
from lungseg3d.data import load_datalist
from lungseg3d.io import Reading, ReadOptions, inspect, open_ct, read_labels
from tests.fuzz.seeds import Seed

FILE_CODES = {code for code, (_, by) in CODES.items() if by == "reading and writing of files and bundles"}
_OPTIONS = (
    ReadOptions(allow_gaps=True),
    ReadOptions(assume_hu=True, strict=True),
    ReadOptions(assume_axes="RAS"),
    ReadOptions(assume_axes="LPS", fix_offset=True),
    ReadOptions(volume_index=0),
    ReadOptions(series="1.2.3"),
)
_MOST_CHARACTERS = 2000
# numbers, and what stands in quotes or brackets: it differs between inputs that are refused at the same place
_VARIABLE = re.compile(r"[-+\d.e]+|'[^']*'|\[[^\]]*\]|\([^)]*\)")


@dataclass(frozen=True)
class Verdict:
    """What became of one input.

    Attributes:
        outcome: `read`, the code of the refusal, or `finding`.
        shape: equal for inputs that ended at one place of the reader; a new one is worth keeping as a seed.
        trouble: of a finding: what went wrong, with its traceback.
    """

    outcome: str
    shape: str
    trouble: str = ""


def judge(seed: Seed, folder: Path, rng: random.Random) -> Verdict:
    """Write the files of `seed` into `folder`, let the reader open them, look at what it says; remove them again."""
    paths = _write(seed, folder)
    try:
        shape = _call(seed, folder, rng)
        return Verdict("read", shape)
    except LungSegError as error:
        trouble = _trouble_of(error, seed, folder)
        if trouble:
            return Verdict("finding", trouble[:80], f"{trouble}\n{error}\n{traceback.format_exc(limit=-4)}")
        return Verdict(error.code, f"{error.code} {_VARIABLE.sub('#', error.message)[:100]}")
    except Exception as error:
        text = "".join(traceback.format_exception(error, limit=-12))
        return Verdict("finding", f"{type(error).__name__} at {_place(error)}", text)
    finally:
        for path in paths:
            path.unlink()


def _write(seed: Seed, folder: Path) -> list[Path]:
    paths = []
    for name, data in seed.files.items():
        path = folder / name
        if "/" in name:
            path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        paths.append(path)
    return paths


def _call(seed: Seed, folder: Path, rng: random.Random) -> str:
    """Call one of the public functions; returns the shape of its answer.

    Raises:
        AssertionError: the answer is not what the function promises.
    """
    path = folder / seed.entry
    if seed.kind == "manifest":
        entries = load_datalist(path, folder, fold=rng.choice((None, 0, 1)), held_out=rng.random() < 0.5)
        assert all(isinstance(entry["case_id"], str) for entry in entries)
        return f"{len(entries)} entries"
    chance = rng.random()
    options = rng.choice(_OPTIONS) if chance < 0.25 else ReadOptions()
    if chance > 0.9:
        inspection = inspect(path, options)
        json.dumps(inspection.to_json())
        return f"{inspection.status} {[issue.code for issue in inspection.issues]}"
    if chance > 0.85 and seed.entry:
        labels = read_labels(path)
        assert labels.array.dtype in (np.uint8, np.uint16, np.int16)
        return "labels"
    reading = open_ct(path, options)
    _check(reading)
    return " ".join(sorted({issue.code for issue in reading.issues}))


def _check(reading: Reading) -> None:
    volume = reading.volume
    assert volume.array.dtype == np.int16
    assert min(volume.shape) >= 2
    assert np.isfinite(volume.affine).all()
    assert abs(np.linalg.det(volume.affine[:3, :3])) > 1e-9
    assert volume.array.min() >= -1500, "padding left in the CT"
    assert all(issue.code in FILE_CODES and len(issue.message) < _MOST_CHARACTERS for issue in reading.issues)
    json.dumps(reading.source)


def _trouble_of(error: LungSegError, seed: Seed, folder: Path) -> str:
    """What is wrong with a refusal itself; empty when nothing is."""
    text = str(error)
    if seed.kind != "manifest":
        if not isinstance(error, IntakeError) or error.code not in FILE_CODES:
            return f"refusal of an unknown code {error.code} ({type(error).__name__}) at {_place(error)}"
        if str(folder) in text:
            return f"refusal names a folder of the disk at {_place(error)}"
    if not error.remedy:
        return f"refusal without a remedy at {_place(error)}"
    if len(text.splitlines()) > 3 or len(text) > _MOST_CHARACTERS:
        return f"refusal of {len(text.splitlines())} lines, {len(text)} characters at {_place(error)}"
    return ""


def _place(error: BaseException) -> str:
    """Where in our code an error came up: the last frame inside lungseg3d, but not `refuse` itself."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "lungseg3d" in frame.filename and frame.name != "refuse"]
    last = ours[-1] if ours else frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} {last.name}"
