"""Many CTs in one call: how much of reading, measuring, checking, reporting and writing hides behind the networks.

One CT, a phantom of 512 x 512 x 300 voxels as DICOM, is given again and again. Its time in one call, with cases one
after the other and with the next one read and the last one written beside the networks, stands beside the networks' own
time in the same call: 1.0 would be nothing but networks.

    python benchmarks/inference_overlap.py --cases 10
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from lungseg3d.data import PhantomSpec, make_phantom
from lungseg3d.io import write_dicom_series
from lungseg3d.workflows.profile import profiled
from lungseg3d.workflows.segment.job import CaseJob
from lungseg3d.workflows.segment.models import Models, open_models
from lungseg3d.workflows.segment.options import SegmentOptions
from lungseg3d.workflows.segment.pipeline import segment_line

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--series", type=Path, help="another DICOM series than the phantom")
    asked = parser.parse_args()
    models = open_models(SegmentOptions(device="cpu"))
    lines = ["| cases | wall s | CPU s | networks alone, wall s | wall / networks |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as scratch:
        series = asked.series or _phantom(Path(scratch) / "phantom")
        for words, ahead in (("one after the other", False), ("overlapping", True)):
            line = _timed(series, asked.cases, models, Path(scratch) / words, ahead)
            lines.append(f"| {asked.cases}, {words} | {line}")
            print(lines[-1], flush=True)
    load = f"\n\n{os.cpu_count()} cores, load of the machine at the end {os.getloadavg()[0]:.1f}.\n"
    text = "# Many CTs in one call\n\n" + "\n".join(lines) + load
    (RESULTS / "inference_overlap.md").write_text(text, encoding="utf-8")


def _phantom(folder: Path) -> Path:
    write_dicom_series(folder, make_phantom(PhantomSpec(seed=1, shape=(512, 512, 300), spacing_mm=(0.7, 0.7, 1.0))).ct)
    return folder


def _timed(series: Path, cases: int, models: Models, out: Path, ahead: bool) -> str:
    jobs = [CaseJob(series, f"case-{n}", out / f"case-{n}", SegmentOptions(device="cpu")) for n in range(cases)]
    begin, begin_cpu = time.perf_counter(), time.process_time()
    with profiled() as profile:
        results = segment_line(jobs, models, ahead=ahead)
    wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - begin_cpu
    assert {result.status for result in results} == {"done"}, results
    networks_s = sum(network.seconds for network in profile.networks)
    return f"{wall_s:.1f} | {cpu_s:.1f} | {networks_s:.1f} | {wall_s / networks_s:.2f} |"


if __name__ == "__main__":
    main()
