"""Floor 3: what every room with torch needs: volumes as tensors, working grids, mixed precision by name, its speed."""

from lungseg3d.tensors.allocation import keep_freed_memory
from lungseg3d.tensors.capability import obstacle_to
from lungseg3d.tensors.grids import AIR_HU, orthogonalise, resample, sample_on
from lungseg3d.tensors.meta_tensors import to_meta_tensor, to_volume
from lungseg3d.tensors.precision import (
    PRECISIONS,
    autocast_for,
    convolved_in_fp32,
    is_too_small_for_bf16,
    resolve_precision,
)
from lungseg3d.tensors.speed import best_seconds, ceiling_gflops, matmul_gflops
from lungseg3d.tensors.weights import load_state, load_weights, store_in_half

__all__ = [
    "AIR_HU",
    "PRECISIONS",
    "autocast_for",
    "best_seconds",
    "ceiling_gflops",
    "convolved_in_fp32",
    "is_too_small_for_bf16",
    "keep_freed_memory",
    "load_state",
    "load_weights",
    "matmul_gflops",
    "obstacle_to",
    "orthogonalise",
    "resample",
    "resolve_precision",
    "sample_on",
    "store_in_half",
    "to_meta_tensor",
    "to_volume",
]
