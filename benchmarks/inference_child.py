"""One contender on one CT in a process of its own, so that its memory is its own; prints one line of JSON.

Started by `benchmarks/inference.py`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inference_peers import lungmask, nnunet

BEGIN = time.perf_counter(), time.process_time()


class Steps:
    """Wall and CPU seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begin = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = time.perf_counter() - begin[0], time.process_time() - begin[1]


def ours(source: Path, out: Path, steps: Steps) -> None:
    """Both stages, second look, measuring, checking, report, all files: what `lungseg3d segment` does."""
    from lungseg3d.cli.terminal.quick_start import OWN_PROCESS, import_monai_to_segment

    OWN_PROCESS.set(True)
    import_monai_to_segment()
    from lungseg3d.io import ReadOptions
    from lungseg3d.io.decoding.client import begin_decoding
    from lungseg3d.io.intake.reading import APART
    from lungseg3d.workflows.profile import profiled
    from lungseg3d.workflows.segment.case import segment_case
    from lungseg3d.workflows.segment.models import open_models
    from lungseg3d.workflows.segment.options import SegmentOptions

    options = SegmentOptions(read=ReadOptions(decode=APART))
    with steps.step("load models"):
        begin_decoding()
        models = open_models(options)
    with profiled() as profile:
        result = segment_case(source, "case", out / "case", models, options, None)
    assert result.status == "done", result.issues
    steps.seconds |= {step.name: (step.wall_s, step.cpu_s) for step in profile.steps}


def zoo(source: Path, out: Path, steps: Steps) -> None:
    """A pipeline as MONAI's model zoo writes them, fp32, with our nodule network: one stage, one label map."""
    import torch
    from monai.data import DataLoader, Dataset, decollate_batch
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import (
        AsDiscreted,
        Compose,
        EnsureChannelFirstd,
        EnsureTyped,
        Invertd,
        LoadImaged,
        Orientationd,
        SaveImaged,
        ScaleIntensityRanged,
        Spacingd,
    )

    from lungseg3d.inference import open_bundle, shipped_bundle

    with steps.step("load models"):
        how = {"device": torch.device("cpu"), "precision": "fp32", "backend": "torch"}
        network = open_bundle(shipped_bundle("lung_nodule_ct_segmentation"), roi="full", skip=1, **how).network
    before = Compose(
        [
            LoadImaged("image", reader="PydicomReader" if source.is_dir() else "NibabelReader"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(1.0, 1.0, 1.0), mode="bilinear"),
            ScaleIntensityRanged("image", a_min=-1000, a_max=400, b_min=0, b_max=1, clip=True),
            EnsureTyped("image"),
        ]
    )
    inferer = SlidingWindowInferer(roi_size=(96, 96, 96), sw_batch_size=2, overlap=0.25, mode="gaussian")
    after = Compose(
        [
            Invertd("pred", transform=before, orig_keys="image", nearest_interp=False, to_tensor=True),
            AsDiscreted("pred", argmax=True),
            SaveImaged("pred", output_dir=str(out), output_postfix="seg", print_log=False),
        ]
    )
    with steps.step("load, orient, resample"):
        (batch,) = DataLoader(Dataset([{"image": str(source)}], before), batch_size=1)
    with steps.step("sliding window"), torch.no_grad():
        batch["pred"] = inferer(batch["image"], network)
    with steps.step("invert, save"):
        for case in decollate_batch(batch):
            after(case)


CONTENDERS: dict[str, Callable[[Path, Path, Steps], Any]] = {
    "ours": ours,
    "zoo": zoo,
    "nnunet": nnunet,
    "lungmask": lungmask,
}


class MemoryWatch(threading.Thread):
    """Notes the most memory that this process and its children hold together; what they share counts once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_kib = 0
        self.start()

    def run(self) -> None:
        while True:
            self.peak_kib = max(self.peak_kib, sum(map(_held_kib, ["self", *_children()])))
            time.sleep(0.2)


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def _held_kib(process: str) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    """`inference_child.py CONTENDER SOURCE`: the CT twice, as the first and as a further one of a process."""
    import resource

    name, source = sys.argv[1], Path(sys.argv[2])
    first, further, watch = Steps(), Steps(), MemoryWatch()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        CONTENDERS[name](source, Path(one), first)
        cold = time.perf_counter() - BEGIN[0], time.process_time() - BEGIN[1]
        CONTENDERS[name](source, Path(other), further)
    peak_mib = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, watch.peak_kib) / 1024
    told = {"steps": first.seconds, "further": further.seconds, "cold": cold, "peak_mib": peak_mib}
    print(json.dumps({"contender": name, **told}))


if __name__ == "__main__":
    main()
