"""Patches a second in training: our engine against MONAI's usual pipeline, same network, loss and optimiser.

    python -m benchmarks.engine [--steps 40] [--rounds 3] [--size 48] [--batch 4]

The usual pipeline: CacheDataset of whole cases, RandCropByPosNegLabeld, the same augmentations as MONAI has them, on
the workers of a DataLoader, SupervisedTrainer. Ours: RoiSampler and RoiTrainer with the defaults of the nodule bundle.
Both read the same phantoms on a 1 mm grid. Every contender runs in a process of its own, all of them in turn, round by
round; the time of a round is that of its steps after a warm-up.

In: nothing but this repository. Out: a table on stdout and in results/engine.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "lung_nodule_ct_segmentation"
WARM_UP_STEPS = 6
CASES = 4
HU_RANGE = (-1000.0, 400.0)
PROBABILITY = 0.35
AUGMENTATIONS = {
    "usual": "turned, scaled, flipped; noise, blur, sharpening, thicker slices, shifted and scaled grey values",
    "strong": "the same, and half of the patches bent elastically, gamma, low resolution, parts hidden",
}

LIMITS = """
## What falls short, and why

The aim on 2 CPU cores is 1.5 times MONAI's pipeline at equal precision and 3 times with bf16. Measured on an AMD EPYC
with AVX-512 bf16 instructions and no AMX. Tried, on the usual augmentations:

- channels-last memory for network and patches: kept, it is in the figures;
- `torch.compile` of the network: 14 % more patches a second in fp32 and 4 % in bf16, after minutes of compiling;
- augmentation of whole batches on the training device instead of patch by patch in workers: kept, it is what makes the
  difference at equal precision, and why the ratio grows with the augmentation.

What limits it: with augmentation almost free, 57 % of a step's time is the backward pass of convolutions in oneDNN. On
this processor bf16 makes a step 1.7 times as fast and no more; matrix units (AMX) or a GPU do more there.
"""


@dataclass(frozen=True)
class Contender:
    """A pipeline in a precision; `ours` or MONAI's, its foreground looked up once or at every crop."""

    title: str
    ours: bool
    precision: str
    cached_indices: bool = False


CONTENDERS = {
    "monai": Contender("MONAI, fp32", False, "fp32"),
    "monai-indices": Contender("MONAI, fp32, foreground indices cached", False, "fp32", True),
    "ours": Contender("lungseg3d, fp32", True, "fp32"),
    "ours-bf16": Contender("lungseg3d, bf16", True, "bf16"),
    "monai-bf16": Contender("MONAI, bf16, foreground indices cached", False, "bf16", True),
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=48, help="voxels along each side of a patch")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of MONAI's DataLoader")
    parser.add_argument("--augmentation", choices=AUGMENTATIONS, help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--cases", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(measure(CONTENDERS[asked.child], asked)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_cases(Path(folder))
        text = heading(asked) + "".join(
            table(set_, compare(set_, asked.rounds, Path(folder))) for set_ in AUGMENTATIONS
        )
    text += LIMITS
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "engine.md").write_text(text, encoding="utf-8")


def make_cases(folder: Path) -> None:
    """Phantoms of a chest, nodules labelled, cut to the lungs, on the working grid of the nodule bundle."""
    from lungseg3d.data import PhantomSpec, make_phantom

    for seed in range(CASES):
        spec = PhantomSpec(seed=seed, shape=(280, 220, 200), spacing_mm=(1.0, 1.0, 1.0), nodule_count=20)
        phantom = make_phantom(spec)
        np.savez(folder / f"{seed}.npz", image=phantom.ct.array, label=phantom.labels.array == 3)


def compare(augmentation: str, rounds: int, folder: Path) -> dict[str, list[dict[str, float]]]:
    """What every contender did in every round, all of them in turn."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in _contenders()}
    for turn in range(rounds):
        for name, measured in found.items():
            measured.append(run_child(name, augmentation, folder))
            print(f"{augmentation}, round {turn + 1}, {CONTENDERS[name].title}: {measured[-1]}", file=sys.stderr)
    return found


def _contenders() -> list[str]:
    """MONAI's trainer has mixed precision on CUDA only."""
    import torch

    return [name for name in CONTENDERS if name != "monai-bf16" or torch.cuda.is_available()]


def run_child(name: str, augmentation: str, folder: Path) -> dict[str, float]:
    """One round of one contender in a fresh process."""
    words = [sys.executable, "-m", "benchmarks.engine", *sys.argv[1:], "--child", name]
    words += ["--augmentation", augmentation, "--cases", str(folder)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def measure(contender: Contender, asked: argparse.Namespace) -> dict[str, float]:
    """Patches a second of `asked.steps` steps, and the seconds of processor time that one patch took."""
    import torch
    from ignite.engine import Events
    from monai.utils import set_determinism

    set_determinism(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = (_ours if contender.ours else _monai)(contender, asked, device)
    times: dict[str, tuple[float, float]] = {}

    def note(moment: str) -> Callable[..., None]:
        def noted(_: Any) -> None:
            if device.type == "cuda":
                torch.cuda.synchronize()
            times[moment] = (time.perf_counter(), _processor_s())

        return noted

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=WARM_UP_STEPS), note("start"))
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=WARM_UP_STEPS + asked.steps), note("end"))
    trainer.run()
    patches = asked.steps * asked.batch
    wall_s, processor_s = (after - before for before, after in zip(times["start"], times["end"], strict=True))
    return {"patches_per_s": patches / wall_s, "processor_s_per_patch": processor_s / patches}


def _processor_s() -> float:
    """Processor time of this process and of the DataLoader's workers, which live as long as it does."""
    total = 0.0
    for pid in [os.getpid(), *_children()]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]


def _parts(device: Any) -> dict[str, Any]:
    import torch
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.json"))
    network = parser.get_parsed_content("network_def").to(device)
    return {
        "device": device,
        "network": network,
        "optimizer": torch.optim.AdamW(network.parameters(), lr=1e-3),
        "loss_function": parser.get_parsed_content("loss"),
        "max_epochs": 1,
    }


def _cases(folder: Path) -> list[dict[str, Any]]:
    loaded = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    return [{"image": case["image"][None], "label": case["label"][None].astype(np.uint8)} for case in loaded]


def _ours(contender: Contender, asked: argparse.Namespace, device: Any) -> Any:
    from lungseg3d.engines import (
        GammaContrast,
        HuAugmentation,
        LowResolution,
        Occlusion,
        PatchGeometry,
        RoiSampler,
        RoiTrainer,
        SourceGroup,
        StepPlan,
    )

    strong = asked.augmentation == "strong"
    more = [GammaContrast(), LowResolution(), Occlusion()] if strong else []
    sampler = RoiSampler(
        [SourceGroup("cases", _cases(asked.cases), foreground=0.5)],
        patch_size=asked.size,
        batch_size=asked.batch,
        batches_per_epoch=WARM_UP_STEPS + asked.steps,
        augmentation=[HuAugmentation(probability=PROBABILITY), *more],
        geometry=PatchGeometry(strain=0.15 if strong else 0.0),
        hu_range=HU_RANGE,
        device=device,
    )
    return RoiTrainer(train_data_loader=sampler, plan=StepPlan(precision=contender.precision), **_parts(device))


def _monai(contender: Contender, asked: argparse.Namespace, device: Any) -> Any:
    import torch
    from monai import transforms as t
    from monai.data import CacheDataset, DataLoader, list_data_collate
    from monai.engines import SupervisedTrainer

    both, size = ["image", "label"], [asked.size] * 3
    strong = asked.augmentation == "strong"
    keys = {"fg_indices_key": "label_fg_indices", "bg_indices_key": "label_bg_indices"}
    sampling: dict[str, Any] = {"mode": ["bilinear", "nearest"], "padding_mode": "border", "prob": 1.0}
    turn: dict[str, Any] = {"rotate_range": [np.deg2rad(30.0)] * 3, "scale_range": [0.2] * 3}
    turned = t.RandAffined(both, **turn, **sampling)
    bent = t.Rand3DElasticd(both, sigma_range=(5, 8), magnitude_range=(50, 150), **turn, **sampling)
    steps = [
        t.ToTensord(both),
        t.CastToTyped(both, [torch.float32, torch.uint8]),
        *([t.FgBgToIndicesd("label")] if contender.cached_indices else []),
        t.RandCropByPosNegLabeld(
            both, "label", size, pos=1, neg=1, num_samples=asked.batch, **(keys if contender.cached_indices else {})
        ),
        *(t.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(3)),
        t.OneOf([turned, bent]) if strong else turned,
        t.RandSimulateLowResolutiond("image", prob=PROBABILITY, zoom_range=(0.5, 1.0)),
        t.RandGaussianSmoothd("image", prob=PROBABILITY, sigma_x=(0.1, 0.9), sigma_y=(0.1, 0.9), sigma_z=(0.1, 0.9)),
        t.RandGaussianSharpend("image", prob=PROBABILITY),
        t.RandGaussianNoised("image", prob=PROBABILITY, std=50.0),
        t.RandShiftIntensityd("image", offsets=40.0, prob=PROBABILITY),
        t.RandScaleIntensityd("image", factors=0.1, prob=PROBABILITY),
        *([t.RandAdjustContrastd("image", prob=0.2, gamma=(0.7, 1.5))] if strong else []),
        *([t.RandSimulateLowResolutiond("image", prob=0.15, zoom_range=(0.5, 1.0))] if strong else []),
        *([t.RandCoarseDropoutd("image", 1, asked.size // 3, fill_value=-850, prob=0.1)] if strong else []),
        t.ScaleIntensityRanged("image", *HU_RANGE, 0.0, 1.0, clip=True),
    ]
    dataset = CacheDataset(_cases(asked.cases), t.Compose(steps), progress=False)
    loader = DataLoader(
        _Repeated(dataset, WARM_UP_STEPS + asked.steps),  # each item gives a batch of patches
        batch_size=1,
        shuffle=True,
        num_workers=asked.workers,
        collate_fn=list_data_collate,
        pin_memory=device.type == "cuda",
    )
    half = contender.precision == "bf16"
    return SupervisedTrainer(
        train_data_loader=loader,
        amp=half,
        amp_kwargs={"dtype": torch.bfloat16} if half else None,
        decollate=False,
        **_parts(device),
    )


class _Repeated:
    """A data set that is gone through several times in one epoch."""

    def __init__(self, dataset: Any, length: int) -> None:
        self.dataset, self.length = dataset, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index % len(self.dataset)]


def heading(asked: argparse.Namespace) -> str:
    """What was measured, and on what."""
    import monai
    import torch

    return f"""# Patches a second in training

Batches of {asked.batch} x {asked.size}^3 voxels through the nodule bundle's network and back, {CASES} phantoms of
280 x 220 x 200 voxels. Medians of {asked.rounds} rounds of {asked.steps} steps; ratios are medians of the rounds' own.
{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}, MONAI {monai.__version__}, {asked.workers} \
workers of its DataLoader. Made by `python -m benchmarks.engine`.
MONAI's trainer has mixed precision on CUDA only, so on a CPU its fp32 is what there is to compare with.
"""


def table(augmentation: str, found: dict[str, list[dict[str, float]]]) -> str:
    """One set of augmentations: medians over the rounds, ratios within each round."""
    peers = ("monai", "monai-indices")
    lines = [
        "",
        f"## Augmentation: {AUGMENTATIONS[augmentation]}",
        "",
        "| pipeline | patches a second | processor time a patch (s) | to MONAI, fp32 | to MONAI, indices cached |",
        "|---|---|---|---|---|",
    ]
    for name, rounds in found.items():
        speeds = [one["patches_per_s"] for one in rounds]
        used_s = statistics.median(one["processor_s_per_patch"] for one in rounds)
        others = [[one["patches_per_s"] for one in found[peer]] for peer in peers]
        ratios = [statistics.median(a / b for a, b in zip(speeds, other, strict=True)) for other in others]
        cells = [CONTENDERS[name].title, f"{statistics.median(speeds):.2f}", f"{used_s:.2f}"]
        lines.append(f"| {' | '.join([*cells, *(f'{ratio:.2f}' for ratio in ratios)])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
