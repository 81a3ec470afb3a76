"""Places where the network saw something that is not there, so that it is shown them again.

In: a trainer's batches and logits. Out: places for the sampler to return to. Knows no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from lungseg3d.engines.sampling.parts import split_into_parts


@dataclass(frozen=True)
class PatchPlace:
    """Where a patch lay.

    Attributes:
        group, case: name of the group, number of the case in it.
        centre: voxel coordinates of the patch's centre in the case, (3,).
        matrix: patch axes -> case axes, (3, 3).
    """

    group: str
    case: int
    centre: np.ndarray
    matrix: np.ndarray

    def voxel(self, patch_voxel: Sequence[int], size: int) -> np.ndarray:
        """Voxel coordinates in the case of a voxel of the patch, (3,); what bending moved is not followed."""
        return self.centre + self.matrix @ (np.asarray(patch_voxel) + 0.5 - size / 2)


class HardNegatives:
    """Memory of the worst false alarms: a handler that fills it, and the sampler's source of places to return to.

    Looked at are patches without any label. The score of one is the foreground probability summed over its voxels; its
    place is the voxel of the highest one. A place that was shown again keeps its last score, and is forgotten below
    `least_voxels`: what has been learned makes room.

    Args:
        capacity: most places kept, those of the highest scores.
        probability: part of the patches of a group with remembered places that return to one of them.
        least_voxels: smallest score that is remembered.
        every: iterations between two looks; each look waits for the device.

    Source of the idea: Shrivastava et al. 2016, arXiv:1604.03540 (online hard example mining).
    """

    def __init__(
        self, capacity: int = 64, probability: float = 0.25, least_voxels: float = 10.0, every: int = 1
    ) -> None:
        self.capacity, self.probability = capacity, probability
        self.least_voxels, self.every = least_voxels, every
        self._places: dict[tuple[str, int, tuple[int, int, int]], float] = {}

    def __len__(self) -> int:
        return len(self._places)

    def attach(self, engine: Engine) -> None:
        """Register with the trainer whose sampler has this memory; `RoiTrainer` does so by itself. Once is enough."""
        if not engine.has_event_handler(self._look):
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self._look)

    def draw(self, group: str, rng: np.random.Generator) -> tuple[int, np.ndarray] | None:
        """Case and voxel (3,) to return to in this group, or None for a patch from anywhere."""
        known = [place for place in self._places if place[0] == group]
        if not known or rng.random() >= self.probability:
            return None
        _, case, voxel = known[int(rng.integers(len(known)))]
        return case, np.array(voxel, dtype=float)

    def note(self, place: PatchPlace, probability: torch.Tensor) -> None:
        """Remember where a patch that should be empty is not: foreground probability (P, P, P)."""
        size = probability.shape[-1]
        score = float(probability.sum())
        peak = np.unravel_index(int(probability.argmax()), tuple(probability.shape))
        voxel = np.rint(place.voxel([int(n) for n in peak], size)).astype(int)
        # What this patch showed of earlier places is judged anew.
        for known in list(self._places):
            if known[:2] == (place.group, place.case) and np.abs(np.array(known[2]) - place.centre).max() < size / 4:
                del self._places[known]
        if score < self.least_voxels:
            return
        self._places[place.group, place.case, (int(voxel[0]), int(voxel[1]), int(voxel[2]))] = score
        if len(self._places) > self.capacity:
            del self._places[min(self._places, key=self._places.__getitem__)]

    def state_dict(self) -> dict[str, Any]:
        """The places and their scores."""
        return {"places": [[group, case, list(voxel), s] for (group, case, voxel), s in self._places.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave."""
        self._places = {(group, case, tuple(voxel)): score for group, case, voxel, score in state["places"]}

    def look(self, places: Sequence[PatchPlace], logits: torch.Tensor, label: torch.Tensor) -> None:
        """Note the patches that should be empty: logits (B, C, P, P, P) and label (B, 1, P, P, P) of each place.

        Of mosaics there are S^3 places each, in the order of `MosaicSampler`; each part is looked at by itself.
        """
        side = round((len(places) / len(logits)) ** (1 / 3))
        logits, label = (split_into_parts(values, side) for values in (logits, label))
        empty = ~label.flatten(1).any(dim=1)
        for i in torch.nonzero(empty).flatten().tolist():
            foreground = 1 - logits[i].softmax(dim=0)[0] if len(logits[i]) > 1 else logits[i, 0].sigmoid()
            self.note(places[i], foreground)

    def _look(self, engine: Any) -> None:
        prediction = engine.state.output["pred"]
        logits = (prediction[0] if isinstance(prediction, (tuple, list)) else prediction).detach().float()
        self.look(engine.state.batch["place"], logits, engine.state.output["label"])
