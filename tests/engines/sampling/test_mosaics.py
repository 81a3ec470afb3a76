"""Mosaics: their parts, their targets, their memory of false alarms, and a training that goes on as it would have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.engines import HardNegatives, MosaicSampler, PatchGeometry, RoiSampler, SourceGroup
from lungseg3d.engines.sampling.hard_negatives import PatchPlace

STILL = PatchGeometry(0.0, (1.0, 1.0), 0.0, ())


def case(hu: float, label: int) -> dict:
    centres = torch.zeros(1, 30, 30, 30)
    centres[0, 15, 15, 15] = 1
    return {"image": torch.full_like(centres, hu), "label": torch.full_like(centres, label), "centres": centres}


def sampler(memory: HardNegatives | None = None, batch_size: int = 16) -> MosaicSampler:
    groups = [
        SourceGroup("nodules", [case(0.0, 2), case(-300.0, 1)], share=0.5, foreground=0.0, jitter=0.0),
        SourceGroup("hosts", [case(-1000.0, 0)], share=0.5, foreground=0.0, jitter=0.0),
    ]
    parts = RoiSampler(groups, 4, batch_size, 3, geometry=STILL, hard_negatives=memory, seed=3)
    return MosaicSampler(parts, side=2)


def test_each_part_is_of_one_case_and_its_target_one_half_where_nothing_is_asked():
    batch = sampler().batch()
    assert batch["image"].shape == batch["label"].shape == (2, 1, 8, 8, 8)
    grey = {0.0: 1.0, -300.0: 0.5, -1000.0: 0.0}
    seen = set()
    for number, place in enumerate(batch["place"]):
        mosaic, part = divmod(number, 8)
        x, y, z = (4 * n for n in np.unravel_index(part, (2, 2, 2)))
        inside = (mosaic, 0, slice(x, x + 4), slice(y, y + 4), slice(z, z + 4))
        hu = -1000.0 if place.group == "hosts" else (0.0, -300.0)[place.case]
        torch.testing.assert_close(batch["image"][inside], torch.full((4, 4, 4), (hu + 1000) / 1400))
        assert (batch["label"][inside] == grey[hu]).all()
        seen.add(hu)
    assert seen == set(grey)


def test_an_epoch_has_its_length_and_a_state_is_gone_on_from():
    first, second = sampler(), sampler()
    assert len(list(first)) == len(first) == 3
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.batch()["image"], second.batch()["image"])
    assert first.case_ids() == {"nodules": ["0", "1"], "hosts": ["0"]}
    assert len(first.case_contents()["nodules"]) == 2
    first.check_foreground()


def test_a_batch_that_fills_no_mosaic_is_refused():
    with pytest.raises(ValueError, match="expected a multiple of 8"):
        sampler(batch_size=12)


def test_a_false_alarm_is_remembered_at_its_place_in_its_part_and_shown_again():
    memory = HardNegatives(probability=1.0, least_voxels=0.5)
    mosaics = sampler(memory)
    assert mosaics.hard_negatives is memory
    places = [PatchPlace("hosts", 0, np.full(3, 10.0 + n), np.eye(3)) for n in range(8)]
    logits = torch.zeros(1, 2, 8, 8, 8)
    logits[:, 0] = 20.0
    logits[0, 1, 1, 6, 2] = 40.0  # part 2 (x first half, y second, z first), voxel (1, 2, 2)
    label = torch.zeros(1, 1, 8, 8, 8)
    memory.look(places, logits, label)
    case_index, voxel = memory.draw("hosts", np.random.default_rng(0))
    assert (case_index, len(memory)) == (0, 1)
    np.testing.assert_allclose(voxel, np.rint(12.0 + np.array([1, 2, 2]) + 0.5 - 2))


def test_a_part_that_asks_for_something_or_nothing_is_no_place_for_false_alarms():
    memory = HardNegatives(least_voxels=0.5)
    places = [PatchPlace("nodules", 0, np.full(3, 10.0 * n), np.eye(3)) for n in range(8)]
    logits = torch.zeros(1, 2, 8, 8, 8)  # one half everywhere
    label = torch.zeros(1, 1, 8, 8, 8)
    label[0, 0, :4] = 0.5
    memory.look(places, logits, label)
    assert len(memory) == 4
