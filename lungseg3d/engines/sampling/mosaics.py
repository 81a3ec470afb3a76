"""Patches put together from small parts of many cases, so that no place in a patch says what lies there.

In: a sampler of small patches. Out: batches of mosaics. Knows no file.
A network that sees a whole crop of a nodule learns where the middle of a crop is; of parts that show a nodule anywhere
or nowhere, side by side in one patch, it can only learn what a nodule looks like. Source of the idea: the mosaics of
Bochkovskiy et al. 2020, arXiv:2004.10934.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lungseg3d.engines.sampling.hard_negatives import HardNegatives
from lungseg3d.engines.sampling.parts import join_parts
from lungseg3d.engines.sampling.sampler import RoiSampler


class MosaicSampler:
    """Batches of mosaics of S x S x S parts, each part a patch of another sampler; for the targets of `CentreTargetsd`.

    Args:
        parts: sampler of P x P x P patches; its batch size is S^3 times that of the mosaics.
        side: S.

    A batch is the one of `parts` with "image" and "label" as mosaics (B, 1, S P, S P, S P); "label" becomes float32,
    1 in the middle of a nodule, 0.5 where nothing is asked, 0 elsewhere. "case_id", "group" and "place" stay lists of
    parts, those of the first mosaic first.

    Raises:
        ValueError: the parts of a batch fill no whole number of mosaics.
    """

    def __init__(self, parts: RoiSampler, side: int = 2) -> None:
        if parts.batch_size % side**3:
            raise ValueError(f"batches of {parts.batch_size} parts; expected a multiple of {side**3}, the parts of one")
        self.parts, self.side = parts, side

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _ in range(len(self)):
            yield self.batch()

    @property
    def hard_negatives(self) -> HardNegatives | None:
        """Memory of false alarms, for a `RoiTrainer` to fill."""
        return self.parts.hard_negatives

    def batch(self) -> dict[str, Any]:
        """One batch of mosaics."""
        batch = self.parts.batch()
        label = batch["label"].float() / 2
        return {**batch, "image": join_parts(batch["image"], self.side), "label": join_parts(label, self.side)}

    def case_ids(self) -> dict[str, list[str]]:
        """The names of the cases of each group."""
        return self.parts.case_ids()

    def case_contents(self) -> dict[str, list[str]]:
        """What the cases of each group that is drawn from hold."""
        return self.parts.case_contents()

    def check_foreground(self) -> None:
        """Refuse to train where no part could ever show what is to be learned: E_NO_FOREGROUND."""
        self.parts.check_foreground()

    def state_dict(self) -> dict[str, Any]:
        """All that the next batches depend on besides the arguments."""
        return self.parts.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the sampler that gave `state`."""
        self.parts.load_state_dict(state)
