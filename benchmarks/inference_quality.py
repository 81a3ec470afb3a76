"""What speed costs in quality: the shipped road beside the plain one with the same weights, on real CTs and phantoms.

The plain road computes in fp32 by PyTorch, gives the network the lungs' whole box as one window, and looks at every
candidate from all eight sides, however hopeless. Compared are the label maps on the CT's own grid and the lists
of nodules: they are the same when every nodule of one overlaps one of the other.

    python benchmarks/inference_quality.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.core import Volume
from lungseg3d.core.labels import LEFT_LUNG, NODULE, RIGHT_LUNG
from lungseg3d.data import PhantomSpec, make_phantom
from lungseg3d.inference import SecondLookd
from lungseg3d.io import open_ct
from lungseg3d.metrics import dice
from lungseg3d.tensors import to_meta_tensor, to_volume
from lungseg3d.workflows.segment.models import Models, open_models
from lungseg3d.workflows.segment.options import SegmentOptions

RESULTS = Path(__file__).parent / "results"
_REAL = {
    "ricord-000082": "ct/ricord-000082/dicom",
    "lungdx-A0001": "ct/lungdx-A0001/dicom/lung-kernel",
    "4dlung-113": "ct/4dlung-113/dicom",
    "lung1-001": "ct/lung1-001/ct.nii.gz",
    "cip-64": "cip-64/ct-64.nrrd",
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cases", nargs="+", default=[*_REAL, "phantom-1", "phantom-2"])
    parser.add_argument("--precision", default="auto", help="of the shipped road")
    parser.add_argument("--backend", default="auto", help="of the shipped road")
    asked = parser.parse_args()
    shipped = open_models(SegmentOptions(device="cpu", precision=asked.precision, backend=asked.backend))
    plain = _plain_models()
    rows = []
    for name in asked.cases:
        ct = _ct(name, asked.data)
        (fast, fast_s), (slow, slow_s) = (_labels(ct, models) for models in (shipped, plain))
        rows.append(_row(name, fast, slow, fast_s, slow_s))
        print(rows[-1], flush=True)
        gc.collect()
    head = (
        "| CT | right lung, Dice | left lung, Dice | nodules, Dice | nodules shipped, plain, in both | CPU s shipped, "
        "plain |\n|---|---|---|---|---|---|\n"
    )
    said = f"# Inference, what speed costs in quality\n\nShipped road: {shipped.plan.backend} in "
    text = said + f"{shipped.plan.precision}.\n\n" + head + "\n".join(rows) + "\n"
    (RESULTS / "inference_quality.md").write_text(text, encoding="utf-8")


def _plain_models() -> Models:
    models = open_models(SegmentOptions(device="cpu", precision="fp32", backend="torch"))
    models.nodules.inferer.largest = (1024, 1024, 1024)
    for step in models.nodules.postprocessing.transforms:
        if isinstance(step, SecondLookd):
            step.wanted = step.doubt = 0.0
    return dataclasses.replace(models, nodules=dataclasses.replace(models.nodules, network_input={}))


def _ct(name: str, data: Path) -> Volume:
    if name.startswith("phantom-"):
        spec = PhantomSpec(seed=int(name.removeprefix("phantom-")), shape=(320, 320, 150), spacing_mm=(1.1, 1.1, 2.0))
        return make_phantom(spec).ct
    return open_ct(data / _REAL[name]).volume


def _labels(ct: Volume, models: Models) -> tuple[tuple[Volume, Volume], float]:
    """Label map and nodule map, and CPU seconds."""
    begin = time.process_time()
    data: dict[Any, Any] = models.nodules.preprocessing({"image": to_meta_tensor(ct)})
    data = models.nodules.postprocessing(models.nodules.infer(data))
    return (to_volume(data["labels"]), to_volume(data["nodules"])), time.process_time() - begin


def _row(name: str, fast: tuple[Volume, Volume], slow: tuple[Volume, Volume], fast_s: float, slow_s: float) -> str:
    def of(label: int) -> str:
        one, other = (labels.array == label for labels, _ in (fast, slow))
        return f"{dice(one, other):.5f}" if one.any() or other.any() else "none"

    numbers = [int(nodules.array.max()) for _, nodules in (fast, slow)]
    both = len(set(_met(fast[1].array, slow[1].array)))
    dices = " | ".join(of(kind.value) for kind in (RIGHT_LUNG, LEFT_LUNG, NODULE))
    return f"| {name} | {dices} | {numbers[0]}, {numbers[1]}, {both} | {fast_s:.0f}, {slow_s:.0f} |"


def _met(one: np.ndarray, other: np.ndarray) -> Iterator[int]:
    """Nodules of `one` that overlap a nodule of `other`."""
    yield from np.unique(one[(one > 0) & (other > 0)]).tolist()


if __name__ == "__main__":
    main()
