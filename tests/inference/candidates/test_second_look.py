"""The second look: only candidates, only where they are, the mean of all views."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lungseg3d.inference import CandidateSearch, MirroredViews, SecondLookd


class Threshold(torch.nn.Module):
    """Marks what is brighter than one half; with `from_the_left`, only on the upper half of the first axis."""

    def __init__(self, from_the_left: bool = False) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(40.0))
        self.from_the_left = from_the_left
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(image.shape))
        logits = self.scale * (image - 0.5)
        if self.from_the_left:
            logits = logits.clone()
            logits[:, :, : image.shape[2] // 2] = -20
        return torch.cat([torch.zeros_like(logits), logits], dim=1)


def make_case(shape=(70, 60, 50), at=((20, 20, 20), (55, 45, 40))) -> dict[str, MetaTensor]:
    image = torch.zeros(1, *shape)
    for x, y, z in at:
        image[0, x - 3 : x + 3, y - 3 : y + 3, z - 3 : z + 3] = 1
    return {
        "image": MetaTensor(image),
        "pred": MetaTensor(image.clone(), affine=torch.diag(torch.tensor([2.0, 2, 2, 1]))),
    }


def look(case, network, **options) -> np.ndarray:
    views = MirroredViews(network, precision="fp32")
    return SecondLookd("pred", views, **{"roi_size": 24, **options})(case)["pred"]


def test_what_looks_the_same_from_every_side_keeps_its_probability_and_place():
    case = make_case()
    second = look(case, Threshold())
    assert np.allclose(second.numpy(), case["image"].numpy(), atol=1e-6)
    assert torch.equal(second.affine, case["pred"].affine)


def test_what_is_seen_in_half_of_the_views_only_gets_half_of_the_probability():
    second = look(make_case(at=((35, 30, 25),)), Threshold(from_the_left=True)).numpy()
    assert np.allclose(second[second > 0.01], 0.5, atol=1e-3)


def test_the_network_sees_eight_views_of_one_window_for_each_candidate_and_nothing_else():
    network = Threshold()
    look(make_case(), network)
    assert network.seen == [(2, 1, 24, 24, 24)] * 8
    network.seen.clear()
    look(make_case(), network, batch_size=1)
    assert network.seen == [(1, 1, 24, 24, 24)] * 16


def test_a_candidate_without_hope_is_looked_at_no_further_and_the_others_stay_as_they_are():
    case = make_case(at=((20, 20, 20), (20, 20, 35), (55, 45, 40)))
    case["image"][0, 52:58] *= 0.52  # 0.69 in every view
    full, network = look(case, Threshold(), search=CandidateSearch(peak=0.5)).numpy(), Threshold()
    short = look(case, network, search=CandidateSearch(peak=0.5), wanted=0.99).numpy()
    # After one view 7.69 of 8 is possible, after the second 7.38: less than 8 times 0.99.
    assert [shape[0] for shape in network.seen] == [3] + [2] * 7
    assert full[0, 55, 45, 40] > 0.6
    assert not short[0, 50:].any()
    assert np.array_equal(short[0, :45], full[0, :45])


def test_a_neighbour_without_hope_stays_beside_one_that_has_it():
    case = make_case(at=((20, 20, 20),))
    case["image"][0, 17:23, 17:23, 23:26] = 0.52
    case["pred"][0, 17:23, 17:23, 24:26] = 1  # a gap of one voxel parts the two
    full = look(case, Threshold(), search=CandidateSearch(peak=0.5))
    assert torch.equal(look(case, Threshold(), search=CandidateSearch(peak=0.5), wanted=0.99), full)
    assert (full[0, 17:23, 17:23, 24:26] > 0.6).all()


def test_what_the_first_look_left_out_is_not_found_by_the_second():
    case = make_case()
    case["pred"][0, :40] = 0
    second = look(case, Threshold()).numpy()
    assert not second[0, :40].any()
    assert second[0, 55, 45, 40] > 0.99


def test_a_window_at_the_edge_moves_inwards_and_one_for_a_large_candidate_grows():
    network = Threshold()
    case = make_case(at=((3, 3, 3),))
    case["image"][0, 10:50, 20:50, 10:40] = 1
    case["pred"][0, 10:50, 20:50, 10:40] = 1
    second = look(case, network)
    assert np.allclose(second.numpy(), case["image"].numpy(), atol=1e-6)
    assert sorted(network.seen) == [(1, 1, 24, 24, 24)] * 8 + [(1, 1, 48, 38, 38)] * 8


def test_a_network_in_training_mode_is_looked_through_in_evaluation_mode_and_given_back():
    network = torch.nn.Sequential(Threshold(), torch.nn.Dropout(0.9)).train()
    second = look(make_case(), network)
    assert second.max() > 0.99
    assert network.training


def test_candidates_of_a_few_voxels_are_dropped_unseen():
    network = Threshold()
    case = make_case(at=())
    case["pred"][0, 10, 10, 10:13] = 1
    assert not look(case, network).any()
    assert network.seen == []


def test_candidates_that_the_first_look_hardly_believed_are_dropped_unseen():
    network = Threshold()
    case = make_case()
    case["pred"] *= 0.7
    assert not look(case, network).any()
    assert look(case, network, search=CandidateSearch(peak=0.6)).any()
    assert network.seen == [(2, 1, 24, 24, 24)] * 8


def test_no_candidate_gives_nothing():
    assert not look(make_case(at=()), Threshold()).any()


class OneByOne(torch.nn.Module):
    """A convolution, so that its precision is that of the views; its logits are 40 times what is above one half."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv3d(1, 2, 1)
        self.seen: list[torch.dtype] = []
        with torch.no_grad():
            self.convolution.weight.copy_(torch.tensor([0.0, 40.0]).reshape(2, 1, 1, 1, 1))
            self.convolution.bias.copy_(torch.tensor([0.0, -20.0]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.convolution(image)
        self.seen += [logits.dtype] * len(image)
        return logits


@pytest.mark.bf16
def test_where_the_third_digit_decides_it_is_that_of_fp32():
    case = make_case(at=((20, 20, 20), (55, 45, 40)))
    case["image"][0, :45] *= 0.6156  # a logit of 4.624, a probability of 0.9903; with 8 bits it is 4.625 or 4.59375
    case["image"][0, 45:] *= 0.6301  # 0.9945
    network = OneByOne()
    precise = look(case, network).numpy()
    network.seen.clear()
    views, asked = MirroredViews(network, precision="bf16"), {"roi_size": 24, "wanted": 0.99}
    rough, again = (SecondLookd("pred", views, doubt=doubt, **asked)(case)["pred"] for doubt in (0.0, 0.002))
    assert network.seen == [torch.bfloat16] * 32 + [torch.float32] * 8
    assert not np.allclose(rough.numpy(), precise, atol=1e-5)
    assert np.allclose(again[0, :45].numpy(), precise[0, :45], atol=1e-6)
    assert np.array_equal(again[0, 45:].numpy(), rough[0, 45:].numpy())
