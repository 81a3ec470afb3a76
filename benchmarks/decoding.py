"""What it costs to decode in a process of its own: the same CT read apart and in process, in turns.

In one run, so that both meet the same machine: the ratio of the medians of each format. Also how long the process takes
to start, which `segment` spends while it loads PyTorch, and how large it is.

    python -m benchmarks.decoding
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from benchmarks.reading import make_series
from lungseg3d.core import IntakeError
from lungseg3d.io import ReadOptions, open_ct, write_volume
from lungseg3d.io.decoding.client import DecodingProcess

RESULTS = Path(__file__).parent / "results"
IN_PROCESS, APART = ReadOptions(), ReadOptions(decode="apart")


def compress(series: Path) -> Path:
    """Every slice as lossless JPEG 2000, in place."""
    for path in series.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        frame = imagecodecs.jpeg2k_encode(dataset.pixel_array, level=0, reversible=True, codecformat="j2k")
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.save_as(path)
    return series


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare(path: Path, runs: int) -> tuple[list[float], list[float]]:
    """Wall seconds of every run in process and apart, in turns, after one of each to warm up."""
    here, apart = open_ct(path, IN_PROCESS).volume, open_ct(path, APART).volume
    assert np.array_equal(here.array, apart.array), "the voxels differ"
    del here, apart
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(runs):
        for which in (0, 1) if run % 2 else (1, 0):
            times[which].append(seconds_of(lambda which=which: open_ct(path, (IN_PROCESS, APART)[which])))
    return times


def start_of(path: Path) -> tuple[float, float]:
    """Seconds from starting the process to the first answer, that there is no such file; MiB at rest after a CT."""
    decoder = DecodingProcess()

    def ask() -> None:
        with contextlib.suppress(IntakeError):
            decoder.read("open_ct", path.with_name("none"), APART)

    try:
        seconds = seconds_of(ask)
        decoder.read("open_ct", path, APART)
        assert decoder._child is not None
        lines = Path(f"/proc/{decoder._child.pid}/status").read_text(encoding="ascii").splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
        return seconds, kib / 1024
    finally:
        decoder.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--slices", type=int, default=255)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, mock.patch("os.fsync"):
        series = make_series(Path(folder, "plain"), asked.slices)
        packed = compress(make_series(Path(folder, "packed"), asked.slices // 5))
        write_volume(Path(folder, "ct.nii.gz"), open_ct(series).volume)
        cases = {
            f"DICOM, uncompressed, {asked.slices} slices": series,
            f"DICOM, JPEG 2000 lossless, {asked.slices // 5} slices": packed,
            f"NIfTI, gzip, {asked.slices} slices": Path(folder, "ct.nii.gz"),
        }
        for name, path in cases.items():
            here, apart = (statistics.median(times) for times in compare(path, asked.runs))
            rows.append(f"| {name} | {here:.2f} | {apart:.2f} | {apart / here:.2f} |")
            print(rows[-1], flush=True)
        begun, mib = start_of(Path(folder, "ct.nii.gz"))
    load = os.getloadavg()[0]
    command = f"python -m benchmarks.decoding --runs {asked.runs} --slices {asked.slices}"
    text = f"""# Decoding in a process of its own (`--decode apart`, the default of the command line)

`{command}`: 512 x 512 pixels a slice, medians of {asked.runs} runs in turns on
{os.cpu_count()} cores; load {load:.1f} at the end. Voxels are equal.

| input | in process (s) | apart (s) | ratio |
|---|---|---|---|
{chr(10).join(rows)}

Starting the process: {begun:.1f} s, once for all cases; `segment` and `batch` spend it while PyTorch loads. It holds
{mib:.0f} MiB at rest. Voxels come back by shared memory: one copy of the volume in the decoder, none in the program.
"""
    (RESULTS / "decoding.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
