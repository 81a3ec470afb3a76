"""Every network overlay of the nodule bundle, side by side: parameters, GFLOP, time per patch, ratio to SwinUNETR.

Networks take turns, so that a busy machine slows all of them; each has the memory format in which its first runs were
faster. GFLOP are multiplications and additions of convolutions, matrix products and attention in a forward pass of one
patch of 96 x 96 x 96 voxels (torch.utils.flop_counter). Prints a table and writes it to `results/networks.md`.

    python benchmarks/networks.py --size 96 --repeats 5
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from lungseg3d.networks.cost import gflop_of
from lungseg3d.tensors import autocast_for

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "lung_nodule_ct_segmentation"
RESULTS = Path(__file__).parent / "results"
REFERENCE = "swin_unetr"
FORMATS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last_3d}


@dataclass
class Contender:
    """A network and what was measured of it; times in seconds, by precision."""

    name: str
    parameters: int
    gflop: float | None
    network: torch.nn.Module
    formats: dict[str, str] = field(default_factory=dict)
    times_s: dict[str, list[float]] = field(default_factory=dict)


def network_of(name: str) -> torch.nn.Module:
    """The network of an overlay, in eval mode."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "networks" / f"{name}.json"))
    return parser.get_parsed_content("network_def").eval()


def seconds_of(contender: Contender, side: int, precision: str, device: torch.device) -> float:
    """One forward pass of one patch."""
    memory = FORMATS[contender.formats[precision]]
    image = torch.rand(1, 1, side, side, side, device=device).to(memory_format=memory)
    network = contender.network.to(memory_format=memory)  # type: ignore[call-overload]
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    with torch.no_grad(), autocast_for(precision, device):
        wait()
        start = time.perf_counter()
        network(image)
        wait()
        return time.perf_counter() - start


def choose_formats(contender: Contender, side: int, precision: str, device: torch.device) -> None:
    """Warm the network up in both memory formats and keep the faster one."""
    found = {}
    for name in FORMATS:
        contender.formats[precision] = name
        found[name] = min(seconds_of(contender, side, precision, device) for _ in range(2))
    contender.formats[precision] = min(found, key=lambda name: found[name])
    contender.times_s[precision] = []


def table_of(contenders: list[Contender], precisions: list[str]) -> str:
    """Markdown: medians over the repeats; the ratio is the median of the ratios within a repeat."""
    head = ["network", "parameters (M)", "GFLOP at 96^3"]
    for precision in precisions:
        head += [f"{precision} (ms)", f"{precision}, times as fast as {REFERENCE}"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    reference = next((c for c in contenders if c.name == REFERENCE), None)
    for contender in sorted(contenders, key=lambda c: statistics.median(c.times_s[precisions[0]])):
        gflop = "–" if contender.gflop is None else f"{contender.gflop:.0f}"
        cells = [contender.name, f"{contender.parameters / 1e6:.2f}", gflop]
        for precision in precisions:
            own = contender.times_s[precision]
            cells.append(f"{1000 * statistics.median(own):.0f}")
            if reference is None:
                cells.append("")
                continue
            ratios = [slow / fast for slow, fast in zip(reference.times_s[precision], own, strict=True)]
            cells.append(f"{statistics.median(ratios):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = sorted(path.stem for path in (BUNDLE / "configs" / "networks").glob("*.json"))
    parser.add_argument("--networks", nargs="+", default=known, choices=known, metavar="NAME")
    parser.add_argument("--size", type=int, default=96, help="side of the patch in voxels")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RESULTS / "networks.md")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    contenders = []
    for name in options.networks:
        network = network_of(name).to(device)
        parameters = sum(p.numel() for p in network.parameters())
        contenders.append(Contender(name, parameters, gflop_of(network, device), network))
    for precision in options.precisions:
        for contender in contenders:
            choose_formats(contender, options.size, precision, device)
        for repeat in range(options.repeats):
            for contender in contenders:
                contender.times_s[precision].append(seconds_of(contender, options.size, precision, device))
            print(f"{precision}: {repeat + 1} of {options.repeats}", flush=True)
    where = f"{options.threads} CPU thread(s), {torch.backends.cpu.get_cpu_capability()}"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else where
    side = options.size
    text = table_of(contenders, options.precisions)
    print(text)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(
        "# Networks: parameters, GFLOP and time per patch\n\n"
        f"One patch of {side} x {side} x {side} voxels in eval mode, {where}, PyTorch {torch.__version__}; "
        f"medians of {options.repeats} interleaved repeats "
        f"(`python benchmarks/networks.py --size {side} --repeats {options.repeats}`).\n\n{text}",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
