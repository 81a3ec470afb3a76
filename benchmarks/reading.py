"""Reading a DICOM series: us against SimpleITK's series reader on the same files, and the memory of 1,000 slices.

In one process, in turns, so that both meet the same machine: the ratio of the medians. SimpleITK's time is what its
users run: GetGDCMSeriesFileNames and ImageSeriesReader; ours is `open_ct` with all its checks. Memory is the largest
resident set of a child process, its imports included.

    python -m benchmarks.reading
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

RESULTS = Path(__file__).parent / "results"
_MATRIX = 512
_GIB = 2**30
_LIMIT_GIB = 1.3


def make_series(folder: Path, slices: int) -> Path:
    """Noise of 12 bits with a body in air, as `slices` files of 512 x 512."""
    from lungseg3d.core import Volume
    from lungseg3d.io import write_dicom_series

    rng = np.random.default_rng(1)
    plane = np.full((_MATRIX, _MATRIX), -1000, np.int16)
    plane[100:400, 100:400] = 40
    noise = rng.integers(-60, 60, (8, _MATRIX, _MATRIX)).astype(np.int16)
    array = np.stack([plane + noise[k % 8] for k in range(slices)], axis=2)
    with mock.patch("os.fsync"):  # 1,000 flushes of the disk are not what is measured
        write_dicom_series(folder, Volume(array, np.diag([0.7, 0.7, 1.0, 1.0])))
    return folder


def read_by_us(folder: Path) -> np.ndarray:
    """HU (columns, rows, slices)."""
    from lungseg3d.io import open_ct

    return open_ct(folder).volume.array


def read_by_simpleitk(folder: Path) -> Any:
    """A `SimpleITK.Image`, as it comes."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def voxels_of(image: Any) -> np.ndarray:
    """HU (columns, rows, slices) of what a reader gave."""
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(image).T if isinstance(image, sitk.Image) else image


READERS = {"lungseg3d": read_by_us, "SimpleITK": read_by_simpleitk}


def compare(folder: Path, runs: int) -> dict[str, dict[str, list[float]]]:
    """Wall and CPU seconds of every run of both readers, in turns, after one run of each to warm up."""
    seconds: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in READERS}
    ours, theirs = (voxels_of(read(folder)) for read in READERS.values())
    assert np.array_equal(ours, theirs), "the readers give different voxels"
    del ours, theirs
    for run in range(runs):
        for name in sorted(READERS, reverse=run % 2 == 1):
            wall, cpu = time.perf_counter(), time.process_time()
            READERS[name](folder)
            seconds[name]["wall"].append(time.perf_counter() - wall)
            seconds[name]["cpu"].append(time.process_time() - cpu)
    return seconds


def peak_gib(folder: Path, reader: str) -> float:
    """Largest resident set of a child process that reads `folder` once, GiB."""
    command = [sys.executable, "-m", "benchmarks.reading", "--child", str(folder), "--reader", reader]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--many", type=int, default=1000, help="slices of the memory test")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        READERS[arguments.reader](arguments.child)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB)
        return
    with tempfile.TemporaryDirectory() as scratch:
        seconds = compare(make_series(Path(scratch, "few"), arguments.slices), arguments.runs)
        many = make_series(Path(scratch, "many"), arguments.many)
        peaks = {name: peak_gib(many, name) for name in READERS}
    text = report(seconds, peaks, arguments)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "reading.md").write_text(text + "\n", encoding="utf-8")


def report(seconds: dict[str, dict[str, list[float]]], peaks: dict[str, float], arguments: argparse.Namespace) -> str:
    """Markdown."""
    median = {name: {kind: statistics.median(times) for kind, times in both.items()} for name, both in seconds.items()}
    lines = [
        f"# Reading {arguments.slices} slices of {_MATRIX} x {_MATRIX}, and {arguments.many} of them",
        "",
        f"`python -m benchmarks.reading`: medians of {arguments.runs} runs in turns on {os.cpu_count()} cores; load "
        f"{os.getloadavg()[0]:.1f} at the end. Memory: largest resident set of a process that reads once.",
        "",
        f"| reader | wall (s) | CPU (s) | memory, {arguments.many} slices (GiB) |",
        "|---|---|---|---|",
    ]
    lines += [f"| {n} | {median[n]['wall']:.2f} | {median[n]['cpu']:.2f} | {peaks[n]:.2f} |" for n in READERS]
    ratios = {kind: median["lungseg3d"][kind] / median["SimpleITK"][kind] for kind in ("wall", "cpu")}
    lines += [
        "",
        f"Ratio (us / SimpleITK): wall {ratios['wall']:.2f}, CPU {ratios['cpu']:.2f}; at most 1 is the aim. "
        f"Memory at most {_LIMIT_GIB} GiB is the aim.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
