"""Candidates judged: each in the middle of a window of its own, by the mean of all views, no further than needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lungseg3d.core import Volume
from lungseg3d.inference import CandidateSearch, JudgeCandidatesd, MirroredViews, NodulesOnSourced
from lungseg3d.tensors import to_meta_tensor


class Bright(torch.nn.Module):
    """Probability = image; with `from_the_left`, none where the first axis begins. Remembers what it saw."""

    def __init__(self, from_the_left: bool = False) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))
        self.from_the_left = from_the_left
        self.seen: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(image)
        logits = self.scale * torch.logit(image.clamp(1e-4, 1 - 1e-4))
        if self.from_the_left and image[0, 0, 0, 0, 0] > image[0, 0, -1, 0, 0]:
            logits = logits - 20
        return torch.cat([torch.zeros_like(logits), logits], dim=1)


def make_case(*boxes: tuple[tuple[int, int, int], float], shape=(60, 50, 40), found: float = 0.9):
    """Cubes of 7 voxels with their brightness; the first look marks 3 x 3 x 3 voxels in their middle."""
    image, pred = torch.zeros(1, *shape), torch.zeros(1, *shape)
    for (x, y, z), brightness in boxes:
        image[0, max(0, x - 3) : x + 4, max(0, y - 3) : y + 4, max(0, z - 3) : z + 4] = brightness
        pred[0, max(0, x - 1) : x + 2, max(0, y - 1) : y + 2, max(0, z - 1) : z + 2] = found
    return {"image": MetaTensor(image), "pred": MetaTensor(pred, affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))}


def judge(case, network=None, **options):
    views = MirroredViews(network or Bright(), precision="fp32")
    return JudgeCandidatesd("pred", views, **{"roi_size": 20, **options})(case)


def test_what_the_network_takes_for_a_nodule_stays_with_how_sure_it_is_and_the_rest_goes():
    case = make_case(((20, 20, 20), 0.8), ((45, 30, 20), 0.05))
    data = judge(case, least=0.2)
    assert torch.equal(data["pred"][0, :40], case["pred"][0, :40])
    assert not data["pred"][0, 40:].any()
    inside = case["pred"][0, :40] > 0
    assert data["judgement"][0, :40][inside].numpy() == pytest.approx(0.8, abs=1e-4)
    assert not data["judgement"][0, :40][~inside].any()
    assert torch.equal(data["judgement"].affine, case["pred"].affine)


def test_every_view_has_the_candidate_in_its_middle_also_at_the_border_of_the_image():
    for place in ((20, 20, 20), (1, 48, 38)):
        network = Bright()
        judge(make_case((place, 0.9)), network, roi_size=21)
        assert len(network.seen) == 8
        for image in network.seen:
            assert image.shape == (1, 1, 21, 21, 21)
            assert image[0, 0, 10, 10, 10] == pytest.approx(0.9)


def test_it_is_the_mean_of_all_views():
    case = make_case(((20, 20, 20), 0.9))
    case["image"][0, 28:] = 0.1  # to one side of the window: four of eight views begin with it, the first does not
    data = judge(case, Bright(from_the_left=True))
    assert float(data["judgement"].max()) == pytest.approx(0.45, abs=1e-3)


def test_a_candidate_that_falls_below_what_is_wanted_is_not_looked_at_again():
    for brightness, views in ((0.05, 1), (0.6, 8)):
        network = Bright()
        data = judge(make_case(((20, 20, 20), brightness)), network, least=0.5)
        assert len(network.seen) == views
        assert bool(data["pred"].any()) == (views == 8)


def test_faint_and_tiny_candidates_of_the_first_look_are_dropped_unseen():
    network = Bright()
    assert not judge(make_case(((20, 20, 20), 0.9), found=0.7), network)["pred"].any()
    assert not judge(make_case(((20, 20, 20), 0.9)), network, search=CandidateSearch(least_voxels=28))["pred"].any()
    assert network.seen == []


def test_the_confidence_of_a_nodule_is_its_judgement():
    lungs = to_meta_tensor(Volume(np.ones((60, 50, 40), np.uint8), np.diag([2.0, 2, 2, 1])))
    data = judge(make_case(((20, 20, 20), 0.7))) | {"lungs": lungs, "ct": lungs}
    found = NodulesOnSourced("pred", min_volume_mm3=1, confidence_key="judgement")
    assert found(data)["nodules"].meta["confidence"] == pytest.approx([0.7], abs=1e-3)
    del data["judgement"]
    assert found(data)["nodules"].meta["confidence"] == pytest.approx([0.9], abs=1e-3)


class Rounding(torch.nn.Module):
    """Probability = what a convolution of 1 x 1 x 1 makes of the image, so that its precision is that of the views."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv3d(1, 2, 1, bias=False)
        self.seen: list[torch.dtype] = []
        with torch.no_grad():
            self.convolution.weight.copy_(torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.convolution(image)
        self.seen += [logits.dtype] * len(image)
        return logits


@pytest.mark.bf16
@pytest.mark.parametrize("doubt", [0.0, 0.03])
def test_whoever_is_close_to_what_is_wanted_is_judged_in_fp32(doubt):
    # A logit of 1.3862, a probability of 0.8000; of the logits that bfloat16 knows, 1.3828 is nearest: 0.7995.
    case, network = make_case(((20, 20, 20), 0.6931), ((45, 30, 20), 0.95)), Rounding()
    precise = judge(case, network, least=0.7998)["judgement"].numpy()
    network.seen.clear()
    views = MirroredViews(network, flips=(0,), precision="bf16")
    data = JudgeCandidatesd("pred", views, roi_size=20, least=0.7998, doubt=doubt)(case)
    if doubt:  # both views of the one in doubt again, and the first of them twice
        assert sorted(map(str, network.seen)) == ["torch.bfloat16"] * 4 + ["torch.float32"] * 3
        assert np.array_equal(data["pred"][0, :40].numpy() > 0, precise[0, :40] > 0)
        assert data["judgement"][0, :40].max() == pytest.approx(precise[0, :40].max(), abs=1e-6)
    else:
        assert set(network.seen) == {torch.bfloat16}
    assert data["judgement"][0, 40:].max() == pytest.approx(precise[0, 40:].max(), abs=5e-3)
