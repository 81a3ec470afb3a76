"""The fuzzer as a command: spoilt DICOM, NIfTI, NRRD, MetaImage, zip and JSON against the one reader.

    python -m tests.fuzz --seconds 60

Prints what became of the inputs, by format; exit code 1 when anything but a CT or a refusal of ours came back, when an
input took more than 5 s or 1 GiB, or a process died. Findings lie below --keep with the files that cause them.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import Tally
from tests.fuzz.seeds import make_seeds
from tests.fuzz.workers import fuzz

_MEMORY_DISK = Path("/dev/shm")


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--seed", type=int, help="number of the random generator; another one each time without it")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for inputs that fail")
    parser.add_argument("--at-least", type=int, default=0, help="inputs; fewer are a failure, too")
    arguments = parser.parse_args()
    number = random.randrange(10**6) if arguments.seed is None else arguments.seed
    memory_disk = _MEMORY_DISK if os.access(_MEMORY_DISK, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory_disk) as folder:
        seeds = make_seeds(Path(folder, "seeds"))
        began = time.monotonic()
        tally = fuzz(seeds, arguments.seconds, arguments.jobs, number, Path(folder), arguments.keep.absolute())
        wall_s = time.monotonic() - began
    print(summary(tally, wall_s, number))
    if tally.inputs < arguments.at_least:
        print(f"fewer than {arguments.at_least} inputs")
        return 1
    if tally.findings:
        print(f"inputs kept in {arguments.keep}")
    return 1 if tally.findings else 0


def summary(tally: Tally, wall_s: float, number: int) -> str:
    """The table of a run."""
    kinds = sorted({kind for kind, _ in tally.outcomes})
    lines = [f"{'':14}{'inputs':>8}{'read':>8}{'refused':>9}{'findings':>10}  most frequent refusals"]
    for kind in kinds:
        counts = {outcome: n for (k, outcome), n in tally.outcomes.items() if k == kind}
        read, findings, every = counts.pop("read", 0), counts.pop("finding", 0), sum(counts.values())
        often = ", ".join(f"{code} {n}" for code, n in sorted(counts.items(), key=lambda item: -item[1])[:5])
        lines.append(f"{kind:14}{every + read + findings:8}{read:8}{every:9}{findings:10}  {often}")
    lines.append(
        f"{tally.inputs} inputs in {wall_s:.0f} s ({tally.inputs / wall_s:.0f} a second, "
        f"{tally.inputs / max(tally.cpu_s, 1e-9):.0f} a CPU second), seed {number}, "
        f"{sum(tally.findings.values())} findings"
    )
    lines += [f"  {count} x {shape}" for shape, count in tally.findings.most_common()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
