"""What a case takes in memory, by the number of its voxels: the plan behind `--max-memory`.

In: `SegmentOptions`. Out: `MemoryBudget`, or None. Loads no torch.

The numbers lie above what was measured on the CPU, all processes of a run together, for CTs of 512 x 512 x 300 and
512 x 512 x 1,000 voxels with the usual files (`benchmarks/results/inference.md`); what DICOM objects and maps take more
is reckoned, not measured.
"""

from __future__ import annotations

from dataclasses import replace

from lungseg3d.io import MemoryBudget, ReadOptions
from lungseg3d.workflows.dicom_objects import needs_dicom
from lungseg3d.workflows.segment_options import SegmentOptions

_GIB, _MIB = 2**30, 2**20
BASE_BYTES = 1500 * _MIB
"""Programs, weights, the decoder's process, and what the networks work on: lungs at 3 mm and at 1 mm."""
BYTES_PER_VOXEL = 9.0
"""CT 2, lungs, where to look, and labels 1 each, nodules 2, and what measuring and drawing take for a moment."""
_OBJECTS_BYTES_PER_VOXEL = 2.0
_MAP_BYTES_PER_VOXEL = 2.0


def reading_options(options: SegmentOptions) -> ReadOptions:
    """How a CT is read, and what it may take with everything that is asked for."""
    if options.max_memory_gib is None:
        return options.read
    per_voxel = BYTES_PER_VOXEL + _MAP_BYTES_PER_VOXEL * (options.uncertainty + options.explain)
    per_voxel += _OBJECTS_BYTES_PER_VOXEL * needs_dicom(options.formats)
    budget = MemoryBudget(int(options.max_memory_gib * _GIB), BASE_BYTES, per_voxel)
    return replace(options.read, memory=budget)
