"""Sliding windows over lung only -> foreground probabilities of the working grid.

In: an image (1, 1, X, Y, Z), a network, a mask of where to look. Out: probabilities (1, C - 1, X, Y, Z): of
overlapping windows, merged with Gaussian weights, or of windows that see as far as the network reaches, side by side.
A window without lung is never run. Knows no file and no label.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import Inferer
from torch.nn.functional import pad

from lungseg3d.core import Box
from lungseg3d.inference.prediction.meter import Predictor
from lungseg3d.inference.prediction.predictors import computes_in_slabs, predictor_of
from lungseg3d.inference.prediction.tiling import Tiling, Window, shares_of

PLACEMENTS = ("grid", "tight", "seamless")
_STEP = 16  # the deepest network here halves the grid four times


@dataclass(frozen=True)
class WindowPlan:
    """Where the windows lie that a network is shown.

    Attributes:
        roi_size: window along X, Y, Z in voxels, multiples of 16; cut down where the image is smaller.
        overlap: part of a window that the next one covers again, 0 to below 1.
        placement: `grid` places windows of one size where MONAI's sliding window does, and leaves out those without
            lung: the same result, for less. `tight` takes few windows, as large as `roi_size` allows and as tight as
            the mask (see `Tiling`): 25 instead of 60 volumes of a window on a CT of the chest. What a network says
            near a window's border depends on that border, so results differ between the two, and between grids.
            `seamless` gives what the network says of the whole image at once, in windows as large as `largest` allows:
            each sees as many voxels more than are kept of it as the network reaches, so that no border is seen. For
            networks that say so (`reach_voxels`, as `LightUNet3d`); others get the grid, and so do those that reach
            farther than a third of `largest`, of which too little would be kept, and backends other than PyTorch,
            which would compute a large window at once and not in slabs: more memory than is planned for.
        margin: voxels around the mask that a tight window sees, as far as the image goes.
        largest: largest window of `seamless` along X, Y, Z, multiples of 16; it bounds the memory.

    Raises:
        ValueError: a side that is no multiple of 16, or a placement that there is not.
    """

    roi_size: Sequence[int] = (96, 96, 96)
    overlap: float = 0.25
    placement: str = "grid"
    margin: int = 8
    largest: Sequence[int] = (320, 256, 224)

    def __post_init__(self) -> None:
        for name, sides in (("roi_size", self.roi_size), ("largest", self.largest)):
            if any(side % _STEP for side in sides):
                raise ValueError(f"{name} {tuple(sides)}: every side must be a multiple of {_STEP}")
        if self.placement not in PLACEMENTS:
            raise ValueError(f"placement is {self.placement!r}, expected one of {', '.join(PLACEMENTS)}")

    @property
    def tiling(self) -> Tiling:
        """The windows of `grid` and `tight`."""
        x, y, z = self.roi_size
        shared = tuple(min(int(size * self.overlap), size - 1) for size in self.roi_size)
        return Tiling((x, y, z), shared, self.margin, _STEP)  # type: ignore[arg-type]


class WindowInferer(Inferer):
    """MONAI inferer: windows that hold lung, softmax on the way, foreground channels out.

    Args:
        batch_size: windows of one size run at once.
        flips: average over the image and its mirror images along each of `flips` axes (test-time flips).
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        backend: what computes, see `lungseg3d.inference.prediction.predictors`.
        **plan: fields of `WindowPlan`.

    Raises:
        ValueError: as `WindowPlan`.
    """

    keyword_groups = (WindowPlan,)

    def __init__(
        self,
        batch_size: int = 2,
        flips: Sequence[int] = (),
        precision: str = "auto",
        backend: str = "torch",
        **plan: Any,
    ) -> None:
        super().__init__()
        windows = WindowPlan(**plan)
        self.tiling, self.overlap = windows.tiling, windows.overlap
        self.placement, self.largest = windows.placement, tuple(windows.largest)
        self.batch_size, self.flips = batch_size, tuple(flips)
        self.precision, self.backend = precision, backend

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
        held = torch.ones(image.shape[2:]) if mask is None else torch.as_tensor(mask).as_subclass(torch.Tensor)[0, 0]
        predictor = predictor_of(network, self.backend, self.precision)
        reach = getattr(network, "reach_voxels", None)
        is_seamless = self.placement == "seamless" and computes_in_slabs(network, self.backend, self.precision)
        if is_seamless and reach is not None and 3 * reach <= min(self.largest):
            probabilities = self._seamless(image, held > 0, predictor, reach)
        else:
            probabilities = self._of_windows(image, held > 0, predictor)
        return MetaTensor(probabilities).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else probabilities

    def _of_windows(self, image: torch.Tensor, held: torch.Tensor, predictor: Predictor) -> torch.Tensor:
        shape = image.shape[2:]
        sides = _multiples(shape)
        window = [min(most, side) for most, side in zip(self.tiling.most, sides, strict=True)]
        is_tight = self.placement == "tight"
        whole = sides if is_tight else [max(n, side) for n, side in zip(shape, window, strict=True)]
        image, inside = _padded(image, held, whole)
        windows = self.tiling.windows(inside) if is_tight else self._grid(inside, window)
        return self._merged(image, predictor, windows)[:, :, : shape[0], : shape[1], : shape[2]]

    def _seamless(self, image: torch.Tensor, held: torch.Tensor, predictor: Predictor, reach: int) -> torch.Tensor:
        """What the network says of the whole image, window by window; 0 where there is nothing to be looked at."""
        shape = image.shape[2:]
        image, inside = _padded(image, held, _multiples(shape))
        joined: torch.Tensor | None = None
        for share in shares_of(inside.shape, self.largest, reach, _STEP):
            if not inside[share.kept.slices].any():
                continue
            (x, y, z), kept = share.window.slices, share.kept.slices
            found = self._foreground(image[:, :, x, y, z], predictor, share.kept.seen_from(share.window))
            if joined is None:
                joined = torch.zeros((1, found.shape[1], *inside.shape), device=image.device)
            joined[:, :, kept[0], kept[1], kept[2]] = found.to(image.device)
        joined = torch.zeros((1, 1, *inside.shape), device=image.device) if joined is None else joined
        return joined[:, :, : shape[0], : shape[1], : shape[2]]

    def _grid(self, held: np.ndarray, window: Sequence[int]) -> list[Window]:
        interval = [max(1, int(side * (1 - self.overlap))) for side in window]
        placed = dense_patch_slices(held.shape, window, interval, return_slice=True)
        return [(x, y, z) for x, y, z in placed if held[x, y, z].any()]

    def _merged(self, image: torch.Tensor, predictor: Predictor, windows: list[Window]) -> torch.Tensor:
        # The image may stay on the CPU while the network is on CUDA; what is merged lies beside the image.
        total = torch.zeros(image.shape[2:], device=image.device)
        merged: torch.Tensor | None = None
        for batch in self._batches(windows):
            found = self._foreground(torch.cat([image[:, :, x, y, z] for x, y, z in batch]), predictor)
            found = found.to(image.device)
            weight = _importance(tuple(found.shape[2:])).to(image.device)
            if merged is None:
                merged = torch.zeros((found.shape[1], *image.shape[2:]), device=image.device)
            for (x, y, z), patch in zip(batch, found, strict=True):
                merged[:, x, y, z] += patch.mul_(weight)
                total[x, y, z] += weight
        if merged is None:
            return torch.zeros((1, 1, *image.shape[2:]), device=image.device)
        return merged.div_(total.clamp_(min=1e-6))[None]

    def _batches(self, windows: list[Window]) -> Iterator[list[Window]]:
        """Windows of one size together, `batch_size` at most."""
        sides = [tuple(s.stop - s.start for s in window) for window in windows]
        order = sorted(range(len(windows)), key=lambda i: sides[i])
        for _, same in itertools.groupby(order, key=lambda i: sides[i]):
            alike = list(same)
            for i in range(0, len(alike), self.batch_size):
                yield [windows[j] for j in alike[i : i + self.batch_size]]

    def _foreground(self, patches: torch.Tensor, predictor: Predictor, part: Box | None = None) -> torch.Tensor:
        """Softmax probabilities of every class but the background, (B, C - 1, x, y, z) float32, in a part or all."""
        views: list[tuple[int, ...]] = [(), *((axis,) for axis in self.flips)]
        mean: torch.Tensor | None = None
        for view in views:
            dims = [axis + 2 for axis in view]
            turned = None if part is None else part.mirrored(view, patches.shape[2:])
            probabilities = foreground(predictor(patches.flip(dims) if dims else patches, turned))
            probabilities = probabilities.flip(dims) if dims else probabilities
            mean = probabilities if mean is None else mean.add_(probabilities)
        assert mean is not None
        return mean if len(views) == 1 else mean.div_(len(views))


def _multiples(shape: Sequence[int]) -> list[int]:
    """Sides, rounded up to multiples of the step."""
    return [-(-n // _STEP) * _STEP for n in shape]


def _padded(image: torch.Tensor, held: torch.Tensor, sides: Sequence[int]) -> tuple[torch.Tensor, np.ndarray]:
    """Image (1, 1, X, Y, Z), its border going on, and mask (X, Y, Z), false there, of larger sides."""
    ends = [(0, n - m) for n, m in zip(sides[::-1], image.shape[:1:-1], strict=True)]
    padding = list(itertools.chain.from_iterable(ends))
    if not any(padding):
        return image, held.cpu().numpy()
    return pad(image, padding, mode="replicate"), pad(held, padding).cpu().numpy()


def foreground(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities of every class but the first, (B, C - 1, ...), of logits (B, C, ...)."""
    if logits.shape[1] == 2:  # the softmax of two is a sigmoid: half of the memory, a fifth of the time
        return (logits[:, 1:] - logits[:, :1]).sigmoid_()
    return logits.softmax(dim=1)[:, 1:]


@lru_cache(maxsize=8)
def _importance(size: tuple[int, ...]) -> torch.Tensor:
    """Gaussian weights of a window, its middle 1, its corners at least 0.001."""
    weight = compute_importance_map(size, mode="gaussian", sigma_scale=0.125, device="cpu")
    return weight.float().clamp(min=1e-3)
