"""One confidence a candidate: the mean of the search, times the judgement."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lungseg3d.inference import CandidateConfidenced


def two_candidates() -> dict[str, MetaTensor]:
    pred, judgement = torch.zeros(1, 20, 10, 10), torch.zeros(1, 20, 10, 10)
    pred[0, 2:4, 2:4, 2:4] = 0.6
    pred[0, 2, 2:4, 2:4] = 1.0
    pred[0, 12:15, 5, 5] = 0.9
    pred[0, 18, 5, 5] = 0.4  # no candidate
    judgement[0, 3, 3, 3], judgement[0, 12:15, 5, 5] = 0.5, 0.25
    affine = torch.diag(torch.tensor([2.0, 2, 2, 1]))
    return {"pred": MetaTensor(pred, affine=affine), "judgement": MetaTensor(judgement, affine=affine)}


def test_every_voxel_of_a_candidate_holds_its_mean_times_the_judgement():
    data = CandidateConfidenced("pred")(two_candidates())
    found = data["confidence"][0].numpy()
    assert found[2:4, 2:4, 2:4] == pytest.approx(0.4)
    assert found[12:15, 5, 5] == pytest.approx(0.225)
    assert np.count_nonzero(found) == 11
    assert torch.equal(data["confidence"].affine, data["pred"].affine)


def test_without_a_judgement_it_is_the_mean():
    data = two_candidates()
    del data["judgement"]
    found = CandidateConfidenced("pred")(data)["confidence"][0].numpy()
    assert found[2:4, 2:4, 2:4] == pytest.approx(0.8)
    assert found[12:15, 5, 5] == pytest.approx(0.9)
