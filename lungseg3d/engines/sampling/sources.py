"""Where patches come from: groups of cases that are sampled alike, and which of their cases are drawn how often.

In: cached cases (int16 or float HU, label maps) with facts. Out: tensors on the training device, probabilities.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lungseg3d.io import make_folder, scratch_file

_COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class LargeFirst:
    """Begin with the largest and easiest cases, then let the smaller ones in (curriculum; Bengio et al. 2009, ICML).

    Attributes:
        fact: what is large, of a case's "facts".
        start: share of the cases, largest first, that the first batch is drawn from.
        batches: number of batches after which every case is in.
    """

    fact: str = "diameter_mm"
    start: float = 0.3
    batches: int = 500

    def admitted(self, sizes: np.ndarray, drawn: int) -> np.ndarray:
        """Which cases of these sizes, (N,), are in after `drawn` batches: bool (N,), at least one of them."""
        share = self.start + (1 - self.start) * min(1.0, drawn / max(1, self.batches))
        count = max(1, int(np.ceil(share * len(sizes) - 1e-9)))
        admitted = np.zeros(len(sizes), dtype=bool)
        admitted[np.argsort(-sizes, kind="stable")[:count]] = True
        return admitted


@dataclass
class SourceGroup:
    """Cases that are sampled alike.

    Attributes:
        name: for augmentations that treat groups differently.
        cases: dictionaries with "image" (1, X, Y, Z) HU, "label" (1, X, Y, Z), optionally "centres" (1, X, Y, Z), a
            mask of voxels that may be a patch's centre.
        centres_key: where that mask lies, for groups of the same cases that look at different places of them.
        share: part of every batch that comes from this group, relative to the other groups.
        foreground: probability that a patch is centred near a voxel of the label; else on a voxel of "centres", or any.
        jitter: largest shift of a patch from the voxel that was drawn, as part of the patch size.
        emphasis: how many times as often a case is drawn, by the values of its "facts", such as {"texture": {"1": 2.0},
            "diameter_mm": {"<8": 3.0}}: rare kinds of nodules and small ones are seen more often.
        large_first: begin with the largest cases; None begins with all.
        memory_map: a folder for the voxels, read from there as patches want them: for more cases than memory holds. The
            files have no name and are gone with the process. None keeps them on the training device.
    """

    name: str
    cases: Sequence[Mapping[str, Any]]
    share: float = 1.0
    foreground: float = 0.8
    jitter: float = 0.35
    emphasis: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    large_first: LargeFirst | None = None
    memory_map: str | None = None
    centres_key: str = "centres"
    _cache: list[dict[str, torch.Tensor]] = field(default_factory=list, repr=False)
    _ids: list[str] = field(default_factory=list, repr=False)
    _contents: list[str] = field(default_factory=list, repr=False)
    _weights: np.ndarray | None = field(default=None, repr=False)
    _sizes: np.ndarray | None = field(default=None, repr=False)

    def case_ids(self) -> list[str]:
        """The name of each case, or its number; of a MONAI dataset from its data list, so that nothing is loaded."""
        if not self._ids:
            entries = getattr(self.cases, "data", self.cases)
            self._ids = [str(entry.get("case_id", i)) for i, entry in enumerate(entries)]
        return self._ids

    def frequencies(self, drawn: int = 0) -> np.ndarray:
        """Probability of each case to be drawn after `drawn` batches, shape (N,), from `emphasis` and `large_first`."""
        if self._weights is None:
            facts = [case.get("facts", {}) for case in self.cases] if self._asks_for_facts else [{}] * len(self.cases)
            self._weights = np.array([self._weight(of_case) for of_case in facts])
            if self.large_first:
                self._sizes = np.array([float(of_case.get(self.large_first.fact, 0.0)) for of_case in facts])
        weights = self._weights
        if self.large_first and self._sizes is not None:
            weights = weights * self.large_first.admitted(self._sizes, drawn)
        shares: np.ndarray = weights / weights.sum()
        return shares

    @property
    def _asks_for_facts(self) -> bool:
        return bool(self.emphasis) or self.large_first is not None

    def _weight(self, facts: Mapping[str, Any]) -> float:
        weight = 1.0
        for fact, factors in self.emphasis.items():
            for condition, factor in factors.items():
                weight *= factor if _holds(condition, facts.get(fact)) else 1.0
        return weight

    def cached(self, device: torch.device) -> list[dict[str, torch.Tensor]]:
        """The cases as int16 HU and uint8 labels on the device, with the index lists that sampling needs.

        With `memory_map` image and label stay on the CPU, in files.
        """
        if not self._cache:
            for case in self.cases:
                label = self._kept(_plain(case["label"])[0].to(torch.uint8), device)
                centres = _plain(case[self.centres_key])[0] > 0 if self.centres_key in case else torch.zeros(0, 0, 0)
                self._cache.append(
                    {
                        "image": self._kept(_plain(case["image"])[0].round().to(torch.int16), device),
                        "label": label,
                        "foreground": _some_voxels(label > 0),
                        "centres": _some_voxels(centres),
                    }
                )
        return self._cache

    def contents(self, device: torch.device) -> list[str]:
        """Of each case, as it is sampled: "<case id> <checksum of its voxels and labels>"."""
        if not self._contents:
            for name, case in zip(self.case_ids(), self.cached(device), strict=True):
                digest = hashlib.sha256()
                for key in ("image", "label"):
                    digest.update(str(tuple(case[key].shape)).encode())
                    digest.update(case[key].cpu().contiguous().numpy().data)
                self._contents.append(f"{name} {digest.hexdigest()[:16]}")
        return self._contents

    def _kept(self, voxels: torch.Tensor, device: torch.device) -> torch.Tensor:
        return voxels.to(device) if self.memory_map is None else _mapped(voxels, Path(self.memory_map))


def _mapped(voxels: torch.Tensor, folder: Path) -> torch.Tensor:
    """The same voxels in a file without a name, which the system keeps as long as they are in use."""
    array = voxels.cpu().numpy()
    with scratch_file(make_folder(folder), array.nbytes) as file:
        mapped = np.memmap(file, dtype=array.dtype, mode="r+", shape=array.shape)
        mapped[...] = array
        mapped.flush()
    return torch.from_numpy(mapped)


def _holds(condition: str, value: Any) -> bool:
    """Whether a fact's value meets "<8", ">=15" or is the text itself, such as "1"."""
    match = re.fullmatch(r"(<=|>=|<|>)\s*([-+.\deE]+)", condition)
    if match is None:
        return str(value) == condition
    return value is not None and bool(_COMPARISONS[match[1]](float(value), float(match[2])))


def _plain(array: Any) -> torch.Tensor:
    """A MetaTensor or array as an ordinary tensor: what is cropped here leaves its affine behind."""
    return torch.as_tensor(array).as_subclass(torch.Tensor)


def _some_voxels(mask: torch.Tensor, most: int = 200_000) -> torch.Tensor:
    """Indices (N, 3) of true voxels, evenly thinned out to `most`: enough to draw from, small enough to keep."""
    voxels = torch.nonzero(mask).cpu()
    return voxels[:: max(1, len(voxels) // most)].to(torch.int32)
