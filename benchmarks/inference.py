"""From a CT to its results: time and memory of lungseg3d beside what others do it with.

Contenders: a pipeline as MONAI's model zoo writes them, nnU-Net's predictor, lungmask. The same network and weights for
the first three; ours runs a second one for the lungs, looks at candidates again, outlines, measures, checks and reports
as well; lungmask finds lungs only. Inputs: a phantom of 512 x 512 x 300 voxels of 0.7 x 0.7 x 1.0 mm as DICOM and as
NIfTI, `ricord-000082`, and `slices-N`: the phantom's 300 mm in N slices. Each run is a process of its own, which does
its CT twice: the first meets fresh memory and kernels that must be made, the further one does not. Contenders take
turns, so that what else the machine does meets all.

    pip install '.[bench]'
    python benchmarks/inference.py --data ../shared/data --repeats 3
    python benchmarks/inference.py --contenders ours --inputs slices-100 slices-300 slices-600 slices-1000 slices-1200
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
_LOADING = "load models"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--inputs", nargs="+", default=["phantom-dicom", "phantom-nifti", "ricord-000082"])
    parser.add_argument("--contenders", nargs="+", default=["ours", "zoo", "nnunet", "lungmask"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slices", type=int, default=300, help="of the phantom")
    parser.add_argument("--out", type=Path, default=RESULTS / "inference_peers.md")
    parser.add_argument("--keep", type=Path, help="folder for inputs and runs: a further call adds to its table")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        sources = {name: _source(name, asked, folder) for name in asked.inputs}
        for _ in range(asked.repeats):
            for name, source in sources.items():
                for contender in asked.contenders:
                    _run(contender, name, source, folder / "runs.jsonl")
        text = _table([json.loads(line) for line in (folder / "runs.jsonl").read_text("utf-8").splitlines()])
    print(text)
    asked.out.write_text("# Inference, from CT to results\n\n" + text, encoding="utf-8")


def _source(name: str, asked: argparse.Namespace, scratch: Path) -> Path:
    if name == "ricord-000082":
        return asked.data / "ct" / name / "dicom"
    ending = {"phantom-dicom": "", "phantom-nifti": ".nii.gz"}.get(name, ".nii")
    source = scratch / f"{name}{ending}"
    if source.exists():
        return source
    from lungseg3d.io import write_dicom_series, write_volume

    ct = _phantom(asked.slices)
    if name == "phantom-dicom":
        write_dicom_series(source, ct)
    else:
        write_volume(source, _in_slices(ct, int(name.removeprefix("slices-"))) if "slices-" in name else ct)
    return source


@functools.lru_cache(maxsize=1)
def _phantom(slices: int) -> Any:
    from lungseg3d.data import PhantomSpec, make_phantom

    return make_phantom(PhantomSpec(seed=1, shape=(512, 512, slices), spacing_mm=(0.7, 0.7, 1.0))).ct


def _in_slices(ct: Any, slices: int) -> Any:
    """The same extent in another number of slices, each a copy of the nearest one: the lungs stay as they are."""
    import numpy as np

    from lungseg3d.core import Volume

    ratio = ct.shape[2] / slices
    affine = ct.affine.copy()
    affine[:3, 2] *= ratio
    affine[:3, 3] = ct.grid.to_world(np.array([0, 0, (ratio - 1) / 2]))
    nearest = ((np.arange(slices) + 0.5) * ratio).astype(int)
    return Volume(np.asfortranarray(ct.array[:, :, nearest]), affine)


def _run(contender: str, name: str, source: Path, runs: Path) -> None:
    words = [sys.executable, str(HERE / "inference_child.py"), contender, str(source)]
    load = os.getloadavg()[0]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    result = {**json.loads(done.stdout.strip().splitlines()[-1]), "input": name, "load": load}
    with runs.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def _table(runs: list[dict[str, Any]]) -> str:
    lines = [
        "| input | contender | runs | first CT, wall s | CPU s | further CT, wall s | CPU s | cold, wall s | CPU s | "
        "peak MiB | steps of the first, wall s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, contender in dict.fromkeys((run["input"], run["contender"]) for run in runs):
        same = [run for run in runs if (run["input"], run["contender"]) == (name, contender)]
        first, further = ([_median(_total(run[ct], i) for run in same) for i in (0, 1)] for ct in ("steps", "further"))
        cold = [_median(run["cold"][i] for run in same) for i in (0, 1)]
        steps = {step: _median(run["steps"][step][0] for run in same) for step in same[0]["steps"]}
        told = ", ".join(f"{step} {seconds:.1f}" for step, seconds in steps.items())
        peak = max(run["peak_mib"] for run in same)
        numbers = " | ".join(f"{value:.1f}" for value in (*first, *further, *cold))
        lines.append(f"| {name} | {contender} | {len(same)} | {numbers} | {peak:.0f} | {told} |")
    loads = [run["load"] for run in runs]
    head = f"Medians; models loaded, unless cold. {os.cpu_count()} cores, load of the machine before a run "
    return "\n".join(lines) + f"\n\n{head}{min(loads):.1f} to {max(loads):.1f}.\n"


def _total(steps: dict[str, Any], clock: int) -> float:
    return sum(seconds[clock] for step, seconds in steps.items() if step != _LOADING)


def _median(values: Any) -> float:
    return statistics.median(list(values))


if __name__ == "__main__":
    main()
