"""What a case takes in memory, by the number of its voxels: the plan behind `--max-memory`.

In: `SegmentOptions`. Out: `MemoryBudget`, or None. Loads torch only with a limit, as what `auto` takes has to be known.

The numbers lie above what was measured on the CPU, all processes of a run together, for CTs of 512 x 512 x 300 and
512 x 512 x 1,000 voxels with the usual files (`benchmarks/results/inference.md`); what DICOM objects and maps take more
is reckoned, not measured.
"""

from __future__ import annotations

from dataclasses import replace

from lungseg3d.core import LungSegError
from lungseg3d.io import MemoryBudget, ReadOptions
from lungseg3d.workflows.segment.formats import rows_of
from lungseg3d.workflows.segment.options import SegmentOptions

_GIB, _MIB = 2**30, 2**20
BASE_BYTES = 1500 * _MIB
"""Programs, weights, the decoder's process, and what the networks work on: lungs at 3 mm and at 1 mm."""
BYTES_PER_VOXEL = 9.0
"""CT 2, lungs, where to look, and labels 1 each, nodules 2, and what measuring and drawing take for a moment."""
BACKEND_BYTES = {"torch": 0, "compile": 300 * _MIB, "openvino": 300 * _MIB}
"""What a backend takes beyond PyTorch's: it knows no slabs, and has whole features of several layers at once. OpenVINO
was measured (2.3 GB in fp32 where PyTorch takes 1.9 GB), the compiler is reckoned to take as much."""
_MAP_BYTES_PER_VOXEL = 2.0


def reading_options(options: SegmentOptions) -> ReadOptions:
    """How a CT is read, and what it may take with everything that is asked for."""
    if options.max_memory_gib is None:
        return options.read
    per_voxel = BYTES_PER_VOXEL + _MAP_BYTES_PER_VOXEL * (options.uncertainty + options.explain)
    per_voxel += max((one.bytes_per_voxel for one in rows_of(options.formats)), default=0.0)
    base = BASE_BYTES + BACKEND_BYTES[_backend_of(options)]
    budget = MemoryBudget(int(options.max_memory_gib * _GIB), base, per_voxel)
    return replace(options.read, memory=budget)


def _backend_of(options: SegmentOptions) -> str:
    """What will compute; of options that cannot be had, which are refused elsewhere, the one that takes most."""
    from lungseg3d.inference import choose
    from lungseg3d.workflows.segment.models import resolve_device

    try:
        return choose(options.backend, options.precision, resolve_device(options.device)).backend
    except LungSegError:
        return "openvino"
