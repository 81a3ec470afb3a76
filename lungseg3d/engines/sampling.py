"""Whole cases -> batches of ROI sub-volumes, cropped, turned and scaled on the training device.

In: groups of cached cases (int16 or float HU, label maps). Out: batches {"image": (B, 1, P, P, P) in [0, 1], "label":
(B, 1, P, P, P)}. One affine sampling does crop, rotation, scaling and flips at once. Knows no network and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample


class BatchAugmentation(Protocol):
    """Changes a batch in place of a scanner: HU (B, 1, P, P, P) and labels of the same shape."""

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


@dataclass
class SourceGroup:
    """Cases that are sampled alike.

    Attributes:
        name: for augmentations that treat groups differently.
        cases: dictionaries with "image" (1, X, Y, Z) HU, "label" (1, X, Y, Z), optionally "centres" (1, X, Y, Z), a
            mask of voxels that may be a patch's centre.
        share: part of every batch that comes from this group, relative to the other groups.
        foreground: probability that a patch is centred near a voxel of the label; else on a voxel of "centres", or any.
        jitter: largest shift of a patch from the voxel that was drawn, as part of the patch size.
        emphasis: how many times as often a case is drawn, by the values of its "facts", such as
            {"texture": {"1": 2.0}}: rare kinds of nodules are seen more often.
    """

    name: str
    cases: Sequence[Mapping[str, Any]]
    share: float = 1.0
    foreground: float = 0.8
    jitter: float = 0.35
    emphasis: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    _cache: list[dict[str, torch.Tensor]] = field(default_factory=list, repr=False)

    def frequencies(self) -> np.ndarray:
        """Probability of each case to be drawn, shape (N,), from `emphasis`."""
        weights = np.ones(len(self.cases))
        for i, case in enumerate(self.cases):
            for fact, factors in self.emphasis.items():
                weights[i] *= factors.get(str(case.get("facts", {}).get(fact)), 1.0)
        return weights / weights.sum()

    def cached(self, device: torch.device) -> list[dict[str, torch.Tensor]]:
        """The cases as int16 HU and uint8 labels on the device, with the index lists that sampling needs."""
        if not self._cache:
            for case in self.cases:
                label = _plain(case["label"])[0].to(device, torch.uint8)
                centres = _plain(case["centres"])[0] > 0 if "centres" in case else torch.zeros(0, 0, 0)
                self._cache.append(
                    {
                        "image": _plain(case["image"])[0].round().to(device, torch.int16),
                        "label": label,
                        "foreground": _some_voxels(label > 0),
                        "centres": _some_voxels(centres),
                    }
                )
        return self._cache


class RoiSampler:
    """Endless batches of ROI sub-volumes, `batches_per_epoch` of them an epoch.

    Args:
        groups: where patches come from.
        patch_size: P, voxels along each axis.
        batch_size: B.
        batches_per_epoch: length of the iterator.
        augmentation: called on HU before scaling; None for none.
        rotation_degrees: largest rotation about each axis.
        scale_range: zoom of the patch's content, per patch; a second draw per axis of +-5 % makes it anisotropic.
        flip_axes: axes (0, 1, 2) that may be flipped, each with probability 1/2.
        flip_swaps: pairs of label values that change places when axis 0 (left-right) is flipped.
        hu_range: HU that become 0 and 1.
        seed: of everything random here.
        device: where patches are made.
    """

    def __init__(
        self,
        groups: Sequence[SourceGroup],
        patch_size: int,
        batch_size: int,
        batches_per_epoch: int,
        augmentation: Sequence[BatchAugmentation] = (),
        rotation_degrees: float = 30.0,
        scale_range: tuple[float, float] = (0.8, 1.25),
        flip_axes: Sequence[int] = (0, 1, 2),
        flip_swaps: Sequence[tuple[int, int]] = (),
        hu_range: tuple[float, float] = (-1000.0, 400.0),
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.groups = [group for group in groups if len(group.cases) > 0]
        if not self.groups:
            raise ValueError("no case to train on: every group of the sampler is empty")
        self._frequencies = {group.name: group.frequencies() for group in self.groups}
        self.patch_size, self.batch_size, self.batches_per_epoch = patch_size, batch_size, batches_per_epoch
        self.augmentation = list(augmentation)
        self.rotation_degrees, self.scale_range = rotation_degrees, tuple(scale_range)
        self.flip_axes, self.flip_swaps = tuple(flip_axes), [tuple(pair) for pair in flip_swaps]
        self.hu_range, self.device = tuple(hu_range), torch.device(device)
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self.batches_per_epoch

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(self.batches_per_epoch):
            yield self.batch()

    def batch(self) -> dict[str, torch.Tensor]:
        """One batch: "image" float32 in [0, 1] and "label" uint8, both (B, 1, P, P, P)."""
        shares = np.array([group.share for group in self.groups], dtype=float)
        picks = self.rng.choice(len(self.groups), size=self.batch_size, p=shares / shares.sum())
        names = [self.groups[i].name for i in picks]
        patches = [self._patch(self.groups[i]) for i in picks]
        image, label = (torch.stack([patch[k] for patch in patches]) for k in (0, 1))
        for augment in self.augmentation:
            image, label = augment(image, label, names, self.rng)
        low, high = self.hu_range
        return {"image": ((image - low) / (high - low)).clamp_(0, 1), "label": label}

    def _patch(self, group: SourceGroup) -> tuple[torch.Tensor, torch.Tensor]:
        cases = group.cached(self.device)
        case = cases[int(self.rng.choice(len(cases), p=self._frequencies[group.name]))]
        centre = self._centre(case, group)
        matrix, flipped = self._matrix()
        half = self.patch_size / 2
        # Everything that the turned patch can reach, and no more, becomes float.
        reach = int(np.ceil(np.abs(matrix).sum(axis=1).max() * half)) + 2
        shape = np.array(case["image"].shape)
        start = np.clip(np.floor(centre - reach).astype(int), 0, np.maximum(shape - 1, 0))
        stop = np.clip(np.ceil(centre + reach).astype(int) + 1, start + 1, shape)
        window = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        grid = self._sampling_grid(matrix, centre - start, stop - start)
        image = case["image"][window].float()[None, None]
        label = case["label"][window].float()[None, None]
        # Beyond the source its last voxels go on: a wall of air would teach the network the border of the crop.
        image = grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
        label = grid_sample(label, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0].to(torch.uint8)
        if flipped:
            label = self._swapped(label)
        return image, label

    def _centre(self, case: Mapping[str, torch.Tensor], group: SourceGroup) -> np.ndarray:
        """Voxel coordinates of the patch's centre."""
        marked = len(case["foreground"]) > 0 and self.rng.random() < group.foreground
        voxels = case["foreground"] if marked else case["centres"]
        if len(voxels) == 0:
            return self.rng.uniform(0, np.array(case["image"].shape) - 1)
        voxel = voxels[int(self.rng.integers(len(voxels)))].numpy()
        return voxel + self.rng.uniform(-group.jitter, group.jitter, 3) * self.patch_size

    def _matrix(self) -> tuple[np.ndarray, bool]:
        """Patch axes -> source axes: rotation, zoom, flips; and whether left and right changed places."""
        ax, ay, az = np.radians(self.rng.uniform(-self.rotation_degrees, self.rotation_degrees, 3))
        rx = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
        ry = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
        rz = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
        zoom = np.exp(self.rng.uniform(*np.log(self.scale_range))) * self.rng.uniform(0.95, 1.05, 3)
        signs = np.array([-1.0 if a in self.flip_axes and self.rng.random() < 0.5 else 1.0 for a in range(3)])
        return rz @ ry @ rx @ np.diag(signs / zoom), bool(signs[0] < 0)

    def _sampling_grid(self, matrix: np.ndarray, centre: np.ndarray, shape: np.ndarray) -> torch.Tensor:
        """The grid that `grid_sample` wants (axes Z, Y, X of a tensor are our Z, Y, X reversed), (1, P, P, P, 3)."""
        half = self.patch_size / 2
        # grid_sample counts from -1 to 1 over each source axis, voxel centre i at (2 i + 1) / n - 1.
        scale = 2.0 / shape
        theta = np.concatenate([matrix * half * scale[:, None], ((centre + 0.5) * scale - 1)[:, None]], axis=1)
        theta = np.ascontiguousarray(theta[::-1])
        theta[:, :3] = theta[:, 2::-1]
        tensor = torch.from_numpy(theta).float()[None].to(self.device)
        return affine_grid(tensor, [1, 1, *(self.patch_size,) * 3], align_corners=False)

    def _swapped(self, label: torch.Tensor) -> torch.Tensor:
        swapped = label.clone()
        for a, b in self.flip_swaps:
            swapped[label == a] = b
            swapped[label == b] = a
        return swapped


def _plain(array: Any) -> torch.Tensor:
    """A MetaTensor or array as an ordinary tensor: what is cropped here leaves its affine behind."""
    return torch.as_tensor(array).as_subclass(torch.Tensor)


def _some_voxels(mask: torch.Tensor, most: int = 200_000) -> torch.Tensor:
    """Indices (N, 3) of true voxels, evenly thinned out to `most`: enough to draw from, small enough to keep."""
    voxels = torch.nonzero(mask).cpu()
    return voxels[:: max(1, len(voxels) // most)].to(torch.int32)
