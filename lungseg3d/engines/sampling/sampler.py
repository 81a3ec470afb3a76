"""Whole cases -> batches of ROI sub-volumes, cropped, turned and scaled on the training device.

In: groups of cached cases. Out: batches {"image": (B, 1, P, P, P) in [0, 1], "label": (B, 1, P, P, P)} and where each
patch is from. One sampling does crop, rotation, scaling, flips and bending at once. Knows no network and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn.functional import grid_sample

from lungseg3d.core import BundleError
from lungseg3d.engines.augmentation.geometry import PatchGeometry
from lungseg3d.engines.sampling.hard_negatives import HardNegatives, PatchPlace
from lungseg3d.engines.sampling.sources import SourceGroup

# A false alarm is shown again near the middle, not always in it.
_JITTER_AGAIN = 0.15


class BatchAugmentation(Protocol):
    """Changes a batch in place of a scanner: HU (B, 1, P, P, P) and labels of the same shape.

    Each patch has a generator of its own and draws from no other, so what becomes of it does not depend on its batch.
    """

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


@dataclass(frozen=True)
class PatchOptions:
    """How a sampler makes patches of the places that it draws.

    Attributes:
        hu_range: HU that become 0 and 1.
        seed: of everything random here.
        device: where patches are made.
        hard_negatives: memory of false alarms to return to, filled by a `RoiTrainer`. None returns to none.
        process: this process's rank and the number of processes that train together. Each makes its own part of one
            global batch of B x processes patches, the same that one process of that batch size would make (but for
            hard negatives, which each process remembers of its own patches).
    """

    hu_range: tuple[float, float] = (-1000.0, 400.0)
    seed: int = 0
    device: torch.device | str = "cpu"
    hard_negatives: HardNegatives | None = None
    process: tuple[int, int] = (0, 1)


class RoiSampler:
    """Endless batches of ROI sub-volumes, `batches_per_epoch` of them an epoch.

    Args:
        groups: where patches come from.
        patch_size: P, voxels along each axis; of several sizes each batch has one, drawn at random (multi-scale).
        batch_size: B.
        batches_per_epoch: length of the iterator.
        augmentation: called on HU before scaling, one after the other.
        geometry: how patches may lie.
        **options: fields of `PatchOptions`.
    """

    keyword_groups = (PatchOptions,)

    def __init__(
        self,
        groups: Sequence[SourceGroup],
        patch_size: int | Sequence[int],
        batch_size: int,
        batches_per_epoch: int,
        augmentation: Sequence[BatchAugmentation] = (),
        geometry: PatchGeometry | None = None,
        **options: Any,
    ) -> None:
        how = PatchOptions(**options)
        self.groups = [group for group in groups if len(group.cases) > 0]
        if not self.groups:
            raise BundleError(
                "E_NO_TRAINING_CASES",
                "no case to train on: every group of the sampler is empty",
                "Look at the manifest and its folds: the held-out fold may hold all cases.",
            )
        self.patch_sizes = [patch_size] if isinstance(patch_size, int) else list(patch_size)
        self.batch_size, self.batches_per_epoch = batch_size, batches_per_epoch
        self.augmentation, self.geometry = list(augmentation), geometry or PatchGeometry()
        self.hu_range, self.device = tuple(how.hu_range), torch.device(how.device)
        self.hard_negatives = how.hard_negatives
        self.rank, self.processes = how.process
        self.rng = np.random.default_rng(how.seed)
        self.drawn = 0

    def __len__(self) -> int:
        return self.batches_per_epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _ in range(self.batches_per_epoch):
            yield self.batch()

    def case_ids(self) -> dict[str, list[str]]:
        """The names of the cases of each group."""
        return {group.name: group.case_ids() for group in self.groups}

    def case_contents(self) -> dict[str, list[str]]:
        """What the cases of each group that is drawn from hold: "<case id> <checksum of voxels and labels>" of each."""
        return {group.name: group.contents(self.device) for group in self.groups if group.share > 0}

    def check_foreground(self) -> None:
        """Refuse to train where no patch could ever show what is to be learned.

        Raises:
            BundleError: E_NO_FOREGROUND.
        """
        drawn = [group for group in self.groups if group.share > 0]
        if any(getattr(augment, "adds_labels", False) for augment in self.augmentation):
            return
        if not any(len(case["foreground"]) for group in drawn for case in group.cached(self.device)):
            raise BundleError(
                "E_NO_FOREGROUND",
                f"the labels of all cases to train on are empty on the working grid: {_counted(drawn)}",
                "Look whether the labels are the right ones, and at spacing_mm if they are of few voxels.",
            )

    def state_dict(self) -> dict[str, Any]:
        """All that the next batches depend on besides the arguments."""
        memory = self.hard_negatives.state_dict() if self.hard_negatives else None
        return {"rng": self.rng.bit_generator.state, "drawn": self.drawn, "hard_negatives": memory}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the sampler that gave `state`."""
        self.rng.bit_generator.state = state["rng"]
        self.drawn = state["drawn"]
        if self.hard_negatives and state["hard_negatives"]:
            self.hard_negatives.load_state_dict(state["hard_negatives"])

    def batch(self) -> dict[str, Any]:
        """One batch: "image" float32 in [0, 1] and "label" uint8, both (B, 1, P, P, P), and what they are.

        There are B each of "case_id", of what the patch was cropped from (a nodule inserted into it may be another's),
        "group" and "place".
        """
        total = self.batch_size * self.processes
        shares = np.array([group.share for group in self.groups], dtype=float)
        size = self.patch_sizes[int(self.rng.integers(len(self.patch_sizes)))]
        picks = self.rng.choice(len(self.groups), size=total, p=shares / shares.sum())
        seeds = self.rng.integers(2**63, size=total)
        mine = slice(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
        groups = [self.groups[i] for i in picks[mine]]
        rngs = [np.random.default_rng(seed) for seed in seeds[mine]]
        patches = [self._patch(group, rng, size) for group, rng in zip(groups, rngs, strict=True)]
        image, label = (torch.stack([patch[k] for patch in patches]) for k in ("image", "label"))
        places: list[PatchPlace] = [patch["place"] for patch in patches]
        names = [group.name for group in groups]
        for augment in self.augmentation:
            image, label = augment(image, label, names, rngs)
        self.drawn += 1
        low, high = self.hu_range
        return {
            "image": ((image - low) / (high - low)).clamp_(0, 1),
            "label": label,
            "case_id": [group.case_ids()[place.case] for group, place in zip(groups, places, strict=True)],
            "group": names,
            "place": places,
        }

    def _patch(self, group: SourceGroup, rng: np.random.Generator, size: int) -> dict[str, Any]:
        again = self.hard_negatives.draw(group.name, rng) if self.hard_negatives else None
        if again is not None:
            case_index, voxel = again
            jitter = min(_JITTER_AGAIN, group.jitter)
            centre = voxel + rng.uniform(-jitter, jitter, 3) * size
        else:
            case_index = int(rng.choice(len(group.cases), p=group.frequencies(self.drawn)))
            centre = _centre(group.cached(self.device)[case_index], group, rng, size)
        case = group.cached(self.device)[case_index]
        placement = self.geometry.draw(rng, size)
        # Everything that the turned patch can reach, and no more, becomes float.
        reach = placement.reach(size)
        shape = np.array(case["image"].shape)
        start = np.clip(np.floor(centre - reach).astype(int), 0, np.maximum(shape - 1, 0))
        stop = np.clip(np.ceil(centre + reach).astype(int) + 1, start + 1, shape)
        window = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        grid = placement.sampling_grid(size, centre - start, stop - start, self.device)
        image = case["image"][window].to(self.device).float()[None, None]
        label = case["label"][window].to(self.device).float()[None, None]
        # Beyond the source its last voxels go on: a wall of air would teach the network the border of the crop.
        image = grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
        label = grid_sample(label, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0].to(torch.uint8)
        label = self.geometry.swapped(label) if placement.flipped else label
        return {"image": image, "label": label, "place": PatchPlace(group.name, case_index, centre, placement.matrix)}


def _counted(groups: Sequence[SourceGroup]) -> str:
    return ", ".join(f"{group.name}: {len(group.cases)}" for group in groups)


def _centre(case: Mapping[str, torch.Tensor], group: SourceGroup, rng: np.random.Generator, size: int) -> np.ndarray:
    """Voxel coordinates of the patch's centre."""
    marked = len(case["foreground"]) > 0 and rng.random() < group.foreground
    voxels = case["foreground"] if marked else case["centres"]
    if len(voxels) == 0:
        return rng.uniform(0, np.array(case["image"].shape) - 1)
    voxel = voxels[int(rng.integers(len(voxels)))].numpy()
    return voxel + rng.uniform(-group.jitter, group.jitter, 3) * size
