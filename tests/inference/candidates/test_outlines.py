"""Outlines: the candidate in the middle of a window of its own, and nothing else."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from lungseg3d.inference import MirroredViews, OutlineCandidatesd


class Bright(torch.nn.Module):
    """Probability = image, and a memory of what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))
        self.seen: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(image)
        logits = self.scale * torch.logit(image.clamp(1e-4, 1 - 1e-4))
        return torch.cat([torch.zeros_like(logits), logits], dim=1)


def make_case(*boxes: tuple[tuple[int, int, int], float], shape=(60, 50, 40), found: float = 1.0):
    """Boxes of 5 x 5 x 5 voxels with their brightness; the first look marks their middle voxels."""
    image, pred = torch.zeros(1, *shape), torch.zeros(1, *shape)
    for (x, y, z), brightness in boxes:
        image[0, x - 2 : x + 3, y - 2 : y + 3, z - 2 : z + 3] = brightness
        pred[0, x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = found
    return {"image": MetaTensor(image), "pred": MetaTensor(pred, affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))}


def outline(case, network=None, **options):
    views = MirroredViews(network or Bright(), precision="fp32")
    return OutlineCandidatesd("pred", views, **{"roi_size": 21, **options})(case)["pred"]


def test_a_candidate_becomes_what_the_network_outlines_around_it():
    case = make_case(((20, 20, 20), 0.9))
    found = outline(case)
    assert torch.equal(found[0] > 0.5, case["image"][0] > 0.5)
    assert torch.equal(found.affine, case["pred"].affine)


def test_the_candidate_lies_in_the_middle_of_the_window_in_every_view():
    network = Bright()
    outline(make_case(((20, 20, 20), 0.9)), network)
    (views,) = network.seen
    assert views.shape == (8, 1, 21, 21, 21)
    for view in views:
        assert np.argwhere(view[0].numpy() > 0.5).mean(axis=0).tolist() == [10, 10, 10]


def test_of_two_things_in_the_window_the_one_in_the_middle_is_outlined():
    case = make_case(((20, 20, 20), 0.9))
    case["image"][0, 26:31, 18:23, 18:23] = 1.0
    found = outline(case)[0].numpy()
    assert (found[18:23, 18:23, 18:23] > 0.5).all()
    assert (found[26:31] == 0).all()


def test_a_candidate_that_was_not_sure_enough_or_that_the_network_does_not_see_is_dropped():
    assert not outline(make_case(((20, 20, 20), 0.9), found=0.9)).any()
    assert (outline(make_case(((20, 20, 20), 0.9), found=0.9), peak=0.8) > 0.5).any()
    assert not outline(make_case(((20, 20, 20), 0.3))).any()


def test_the_threshold_becomes_one_half():
    case = make_case(((20, 20, 20), 0.4))
    assert not (outline(case) > 0.5).any()
    assert torch.equal(outline(case, threshold=0.3)[0] > 0.5, case["image"][0] > 0.3)


def test_a_candidate_at_the_border_sees_the_border_go_on_and_its_outline_stays_inside():
    network = Bright()
    case = make_case(((2, 20, 38), 0.9))
    case["image"][0, 0:5, 18:23, 36:40] = 0.9
    found = outline(case, network)
    assert network.seen[0].shape == (8, 1, 21, 21, 21)
    assert torch.equal(found[0] > 0.5, case["image"][0] > 0.5)


def test_a_candidate_as_large_as_the_window_has_a_larger_one():
    network = Bright()
    case = make_case(((30, 25, 20), 0.9))
    case["image"][0, 15:45, 20:30, 15:25] = 0.9
    case["pred"][0, 15:45, 20:30, 15:25] = 1.0
    found = outline(case, network)
    assert network.seen[0].shape[2] == 30 + 7
    assert torch.equal(found[0] > 0.5, case["image"][0] > 0.5)


def test_nothing_is_outlined_where_the_search_found_nothing_however_small_the_image():
    case = make_case(((30, 25, 20), 0.9), found=0.0)
    assert not outline(case).any()


def test_a_place_is_outlined_whatever_the_search_found_there():
    case = make_case(((30, 25, 20), 0.9), ((10, 10, 10), 0.9), found=0.0)
    looking = OutlineCandidatesd("pred", MirroredViews(Bright(), precision="fp32"))
    piece, box = looking.outline_around(case["image"], np.array([10.4, 9.8, 10]), 21)
    wanted = np.zeros((60, 50, 40), bool)
    wanted[8:13, 8:13, 8:13] = True
    assert np.array_equal(piece > 0.5, wanted[box.slices])
    assert (piece > 0.5).sum() == 125


def test_what_lies_away_from_a_place_is_not_outlined_however_large_it_is():
    case = make_case(((30, 25, 20), 0.9))
    case["image"][0, 36:45, 15:35, 10:30] = 0.95
    looking = OutlineCandidatesd("pred", MirroredViews(Bright(), precision="fp32"))

    def outlined(x, reach):
        piece, box = looking.outline_around(case["image"], np.array([x, 25, 20]), 31, reach)
        return set(np.argwhere(piece > 0.5)[:, 0] + box.start[0])

    assert outlined(30, np.inf) == set(range(36, 45))
    assert outlined(30, 4) == set(range(28, 33))
    assert outlined(24, 4) == set(range(28, 33))
    assert outlined(23, 4) == set()


def test_a_place_in_the_cavity_of_a_nodule_lies_in_it():
    case = make_case()
    case["image"][0, 21:40, 16:35, 11:30] = 0.9
    case["image"][0, 24:37, 19:32, 14:27] = 0.0
    looking = OutlineCandidatesd("pred", MirroredViews(Bright(), precision="fp32"))
    piece, _ = looking.outline_around(case["image"], np.array([30, 25, 20]), 31, 4.0)
    assert (piece > 0.5).sum() == 19**3 - 13**3


def test_the_outline_of_a_place_at_the_edge_covers_what_lies_inside_of_the_image():
    case = make_case(((2, 20, 38), 0.9))
    looking = OutlineCandidatesd("pred", MirroredViews(Bright(), precision="fp32"))
    piece, box = looking.outline_around(case["image"], np.array([2, 20, 38]), 21)
    assert (box.start, box.stop) == ((0, 10, 28), (13, 31, 40))
    assert piece.shape == box.shape


def test_the_peak_stays_that_of_the_search_by_which_the_next_step_judges():
    found = outline(make_case(((20, 20, 20), 0.9), found=0.995))
    assert found.max() == np.float32(0.995)
    assert (found > 0.9005).sum() == 1


def test_two_candidates_in_one_nodule_are_outlined_once():
    network = Bright()
    case = make_case(((30, 25, 20), 0.9))
    case["pred"][0, 30] = 0  # cut in two
    assert torch.equal(outline(case, network)[0] > 0.5, case["image"][0] > 0.5)
    assert len(network.seen) == 1


def test_of_a_crop_every_candidate_is_outlined_and_not_what_lies_in_its_middle():
    case = make_case(((30, 25, 20), 0.9), ((10, 10, 10), 0.9))
    assert torch.equal(outline(case)[0] > 0.5, case["image"][0] > 0.5)
    case["pred"][0, 28:33] = 0
    assert np.argwhere(outline(case)[0].numpy() > 0.5).max() == 12
