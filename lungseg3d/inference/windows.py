"""Sliding windows over lung only -> foreground probabilities of the working grid.

In: an image (1, 1, X, Y, Z), a network, a mask of where to look. Out: probabilities (1, C - 1, X, Y, Z), merged with
Gaussian weights. A window without lung is never run. Knows no file and no label.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import Inferer
from torch.nn.functional import pad

from lungseg3d.tensors import autocast_for, resolve_precision

_STEP = 16  # the deepest network here halves the grid four times


class WindowInferer(Inferer):
    """MONAI inferer: windows that hold lung, softmax on the way, foreground channels out.

    Args:
        roi_size: window along X, Y, Z in voxels, multiples of 16; cut down where the image is smaller.
        overlap: part of a window that the next one covers again, 0 to below 1.
        batch_size: windows run at once.
        flips: average over the image and its mirror images along each of `flips` axes (test-time flips).
        precision: `auto`, `fp32`, `bf16` or `fp16`.
    """

    def __init__(
        self,
        roi_size: Sequence[int] = (96, 96, 96),
        overlap: float = 0.25,
        batch_size: int = 2,
        flips: Sequence[int] = (),
        precision: str = "auto",
    ) -> None:
        super().__init__()
        if any(size % _STEP for size in roi_size):
            raise ValueError(f"roi_size {tuple(roi_size)}: every side must be a multiple of {_STEP}")
        self.roi_size, self.overlap, self.batch_size = tuple(roi_size), overlap, batch_size
        self.flips, self.precision = tuple(flips), precision

    def __call__(  # type: ignore[override]
        self,
        inputs: torch.Tensor,
        network: torch.nn.Module,
        *args: Any,
        mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """image (1, 1, X, Y, Z) in [0, 1], mask (1, 1, X, Y, Z) or None -> probabilities (1, C - 1, X, Y, Z) float32.

        Voxels that no window covered have probability 0. A MetaTensor in gives a MetaTensor out.
        """
        image = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        shape = image.shape[2:]
        window = [min(size, -(-n // _STEP) * _STEP) for size, n in zip(self.roi_size, shape, strict=True)]
        padding = [max(0, w - n) for w, n in zip(window, shape, strict=True)]
        ends = list(itertools.chain.from_iterable((0, p) for p in reversed(padding)))
        image = pad(image, ends, mode="replicate") if any(ends) else image
        interval = [max(1, int(w * (1 - self.overlap))) for w in window]
        windows = dense_patch_slices(image.shape[2:], window, interval, return_slice=True)
        if mask is not None:
            held = pad(torch.as_tensor(mask).as_subclass(torch.Tensor) > 0, ends)[0, 0]
            windows = [slices for slices in windows if held[slices].any()]
        probabilities = self._merged(image, network, windows, window)
        probabilities = probabilities[:, :, : shape[0], : shape[1], : shape[2]]
        return MetaTensor(probabilities).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else probabilities

    def _merged(
        self, image: torch.Tensor, network: torch.nn.Module, windows: list[tuple[slice, ...]], size: Sequence[int]
    ) -> torch.Tensor:
        weight = compute_importance_map(tuple(size), mode="gaussian", sigma_scale=0.125, device=image.device)
        weight = weight.clamp(min=1e-3).float()
        total = torch.zeros(image.shape[2:], device=image.device)
        merged: torch.Tensor | None = None
        for i in range(0, len(windows), self.batch_size):
            batch = windows[i : i + self.batch_size]
            patches = torch.cat([image[:, :, x, y, z] for x, y, z in batch])
            # The image may stay on the CPU while the network is on CUDA; what is merged lies beside the image.
            found = self._foreground(patches, network).to(image.device)
            if merged is None:
                merged = torch.zeros((found.shape[1], *image.shape[2:]), device=image.device)
            for (x, y, z), patch in zip(batch, found, strict=True):
                merged[:, x, y, z] += weight * patch
                total[x, y, z] += weight
        if merged is None:
            return torch.zeros((1, 1, *image.shape[2:]), device=image.device)
        return (merged / total.clamp(min=1e-6))[None]

    def _foreground(self, patches: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        """Softmax probabilities of every class but the background, (B, C - 1, x, y, z) float32."""
        device = next(network.parameters()).device
        patches = patches.to(device, memory_format=torch.channels_last_3d)
        views: list[tuple[int, ...]] = [(), *((axis + 2,) for axis in self.flips)]
        mean: torch.Tensor | None = None
        for view in views:
            with autocast_for(resolve_precision(self.precision, device), device):
                logits = network(patches.flip(view) if view else patches)
            probabilities = logits.float().softmax(dim=1)[:, 1:]
            probabilities = probabilities.flip(view) if view else probabilities
            mean = probabilities if mean is None else mean + probabilities
        assert mean is not None
        return mean / len(views)
