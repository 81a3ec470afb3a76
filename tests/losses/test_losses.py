"""The losses give values that are worked out by hand, and MONAI's where MONAI has them."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss, TverskyLoss
from torch.nn.functional import binary_cross_entropy_with_logits

from lungseg3d.losses import (
    CentreFocalLoss,
    FocalTverskyLoss,
    LossWithExtras,
    NearBoundaryLoss,
    ReaderShareLoss,
    WeightedSum,
)
from lungseg3d.losses.extras import present_classes

FOREGROUND = {"include_background": False, "to_onehot_y": True, "softmax": True}
SURE = 100.0  # a logit whose softmax is 1


def certain(mask: torch.Tensor) -> torch.Tensor:
    """Logits (B, 2, X, Y, Z) of a network that is sure of the mask (B, 1, X, Y, Z)."""
    return torch.cat([torch.zeros_like(mask, dtype=torch.float), (mask.float() * 2 - 1) * SURE], dim=1)


def box(*sides: tuple[int, int], size: int = 8) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size, size)
    (x0, x1), (y0, y1), (z0, z1) = sides
    mask[:, :, x0:x1, y0:y1, z0:z1] = 1
    return mask


# --- focal Tversky: 8 voxels predicted, 12 true, 4 of them shared: TP 4, FP 4, FN 8.
PREDICTED, TRUE = box((0, 2), (0, 2), (0, 2)), box((0, 3), (0, 1), (0, 4))
TRUE_POSITIVE = (PREDICTED * TRUE).sum().item()


@pytest.mark.parametrize("gamma", [0.75, 1.0, 4 / 3])
@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.7), (0.5, 0.5)])
def test_focal_tversky_equals_the_value_by_hand(alpha, beta, gamma):
    positive, false_positive, false_negative = TRUE_POSITIVE, 8 - TRUE_POSITIVE, 12 - TRUE_POSITIVE
    assert (positive, false_positive, false_negative) == (4, 4, 8)
    index = positive / (positive + alpha * false_positive + beta * false_negative)
    loss = FocalTverskyLoss(alpha=alpha, beta=beta, gamma=gamma, **FOREGROUND)
    assert loss(certain(PREDICTED), TRUE).item() == pytest.approx((1 - index) ** gamma, rel=1e-4)


def test_focal_tversky_with_gamma_1_is_monais_tversky():
    logits, label = torch.randn(2, 3, 6, 6, 6), torch.randint(0, 3, (2, 1, 6, 6, 6))
    ours = FocalTverskyLoss(0.3, 0.7, gamma=1.0, **FOREGROUND)(logits, label)
    torch.testing.assert_close(ours, TverskyLoss(alpha=0.3, beta=0.7, **FOREGROUND)(logits, label))


def test_focal_tversky_is_taken_of_each_case_before_the_mean():
    # One perfect case, one as above: the mean of powers, not the power of the mean.
    logits, label = torch.cat([certain(TRUE), certain(PREDICTED)]), torch.cat([TRUE, TRUE])
    index = 4 / (4 + 0.3 * 4 + 0.7 * 8)
    found = FocalTverskyLoss(gamma=0.75, **FOREGROUND)(logits, label).item()
    assert found == pytest.approx((1 - index) ** 0.75 / 2, abs=1e-4)


def test_focal_tversky_has_a_finite_slope_at_a_perfect_overlap():
    logits = certain(TRUE).requires_grad_()
    FocalTverskyLoss(gamma=0.5, **FOREGROUND)(logits, TRUE).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0, -1])
def test_focal_tversky_refuses_an_exponent_that_makes_no_sense(gamma):
    with pytest.raises(ValueError, match="above 0"):
        FocalTverskyLoss(gamma=gamma)


# --- boundary: a half space and predictions of it that are shifted by whole voxels.
def half_space(first: int, size: int = 20) -> torch.Tensor:
    """Foreground from voxel `first` on along x."""
    return box((first, size), (0, size), (0, size), size=size)


@pytest.mark.parametrize(("shift", "by_hand"), [(0, 0), (1, 1), (3, 1 + 2 + 3), (7, 1 + 2 + 3 + 4 + 5 + 5 + 5)])
def test_the_boundary_loss_grows_by_the_capped_distance_of_every_layer_too_many(shift, by_hand):
    loss = NearBoundaryLoss(cap_voxels=5, **FOREGROUND)
    reference = half_space(10)
    exact = loss(certain(half_space(10)), reference)
    # A layer at distance d outside costs d / 5 caps, each layer is 1 / 20 of the voxels.
    assert (loss(certain(half_space(10 - shift)), reference) - exact).item() == pytest.approx(
        by_hand / 5 / 20, abs=1e-5
    )


def test_the_boundary_loss_rewards_the_inside_by_its_depth():
    # Layers inside lie 0, 1, 2, 3, 4, 5 (capped) ... voxels deep; ten of twenty are inside.
    loss = NearBoundaryLoss(cap_voxels=5, **FOREGROUND)(certain(half_space(10)), half_space(10))
    assert loss.item() == pytest.approx(-(0 + 1 + 2 + 3 + 4 + 5 * 5) / 5 / 20, abs=1e-5)


def test_the_boundary_loss_stays_within_one_and_is_0_without_foreground():
    loss, everywhere = NearBoundaryLoss(cap_voxels=5, **FOREGROUND), torch.ones(1, 1, 40, 12, 12)
    dot = torch.zeros_like(everywhere)
    dot[:, :, 0, 0, 0] = 1
    assert 0.9 < loss(certain(everywhere), dot).item() < 1
    assert loss(certain(everywhere), torch.zeros_like(everywhere)).item() == 0


def test_the_boundary_loss_refuses_a_cap_of_no_width():
    with pytest.raises(ValueError, match="cap_voxels is 0"):
        NearBoundaryLoss(cap_voxels=0)


# --- the sum
def test_a_sum_of_losses_adds_each_times_its_weight():
    logits, label = torch.randn(1, 2, 6, 6, 6), torch.randint(0, 2, (1, 1, 6, 6, 6))
    dice, tversky = DiceLoss(**FOREGROUND), TverskyLoss(alpha=0.9, beta=0.1, **FOREGROUND)
    expected = 2 * dice(logits, label) + 0.3 * tversky(logits, label)
    torch.testing.assert_close(WeightedSum([dice, tversky], [2, 0.3])(logits, label), expected)


@pytest.mark.parametrize("weights", [[], [1.0, 2.0]])
def test_a_sum_wants_one_weight_for_each_loss(weights):
    with pytest.raises(ValueError, match="one weight for each loss"):
        WeightedSum([DiceLoss()], weights)


# --- extras
@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 8, 8, 8), torch.randint(0, 3, (2, 1, 8, 8, 8))


def test_logits_alone_have_the_loss_itself(case):
    loss = DiceCELoss(**FOREGROUND)
    for prediction in (case[0], (case[0],), [case[0]]):
        torch.testing.assert_close(LossWithExtras(loss)(prediction, case[1]), loss(*case))


@pytest.mark.parametrize(("mode", "weights"), [("exp", (4 / 7, 2 / 7, 1 / 7)), ("same", (1 / 3, 1 / 3, 1 / 3))])
def test_deep_supervision_is_a_weighted_mean_of_the_losses_of_every_size(case, mode, weights):
    loss, (logits, label) = DiceCELoss(**FOREGROUND), case
    half, quarter = torch.randn(2, 3, 4, 4, 4), torch.randn(2, 3, 2, 2, 2)
    # nearest-exact: the middle voxel of every block, the upper one of two.
    labels = (label, label[:, :, 1::2, 1::2, 1::2], label[:, :, 2::4, 2::4, 2::4])
    expected = sum(w * loss(p, t) for w, p, t in zip(weights, (logits, half, quarter), labels, strict=True))
    found = LossWithExtras(loss, weight_mode=mode)((logits, half, quarter), label)
    torch.testing.assert_close(found, expected)


def test_a_class_is_present_where_one_voxel_has_it():
    label = torch.zeros(3, 1, 4, 4, 4)
    label[0, 0, 1, 2, 3] = 2
    label[1, 0, :2] = 1
    label[1, 0, 3] = 2
    assert present_classes(label, 2).tolist() == [[False, True], [True, True], [False, False]]


def test_presence_adds_the_binary_cross_entropy_of_the_classes_in_the_patch(case):
    loss, (logits, label) = DiceCELoss(**FOREGROUND), case
    label = label.clone()
    label[0][label[0] == 2] = 0
    presence = torch.tensor([[0.0, 0.0], [SURE, SURE]])
    found = LossWithExtras(loss, presence_weight=0.5)((logits, presence), label)
    # The first case has class 1 and not 2 and is undecided, ln 2 for each; the second is right about both.
    assert (found - loss(logits, label)).item() == pytest.approx(0.5 * math.log(2) / 2, rel=1e-5)
    present = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(found, loss(logits, label) + 0.5 * binary_cross_entropy_with_logits(presence, present))


def test_an_extra_of_an_unknown_shape_is_refused(case):
    with pytest.raises(ValueError, match=r"\(2, 5\).*neither logits"):
        LossWithExtras(DiceCELoss(**FOREGROUND))((case[0], torch.zeros(2, 5)), case[1])


# --- centre focal: one voxel in the middle, one not asked, six others.
def test_centre_focal_equals_the_value_by_hand_and_takes_the_hardest_of_the_others():
    difference = torch.tensor([2.0, 9.0, 3.0, -1.0, -2.0, -3.0, -4.0, -5.0]).reshape(1, 1, 2, 2, 2)
    logits = torch.cat([torch.zeros_like(difference), difference], dim=1)
    label = torch.tensor([1.0, 0.5, 0, 0, 0, 0, 0, 0]).reshape(1, 1, 2, 2, 2)

    def focal(logit: float, gamma: float) -> float:
        """Of a voxel that is no middle."""
        return (1 / (1 + math.exp(-logit))) ** gamma * math.log(1 + math.exp(logit))

    for gamma in (0.0, 2.0):
        loss = CentreFocalLoss(gamma, hardest=2.0, least=1)(logits, label)
        assert loss.item() == pytest.approx(focal(-2.0, gamma) + focal(3.0, gamma) + focal(-1.0, gamma), rel=1e-5)


def test_centre_focal_without_a_middle_counts_at_least_so_many_others():
    logits = torch.zeros(1, 2, 2, 2, 2)
    empty = torch.zeros(1, 1, 2, 2, 2)
    assert CentreFocalLoss(2.0, least=3)(logits, empty).item() == pytest.approx(3 * 0.25 * math.log(2))
    assert CentreFocalLoss(2.0)(logits, empty).item() == pytest.approx(8 * 0.25 * math.log(2))


# --- shares of readers: four voxels, outlined by all, by half, by one in four and by none of them.
def test_reader_share_equals_the_value_by_hand():
    difference = torch.tensor([1.0, 0.5, -1.0, -2.0]).reshape(1, 1, 4, 1, 1)
    logits = torch.cat([torch.zeros_like(difference), difference], dim=1)
    shares = [1.0, 0.5, 0.25, 0.0]
    label = torch.tensor(shares).reshape(1, 1, 4, 1, 1)
    said = [1 / (1 + math.exp(-logit)) for logit in difference.flatten().tolist()]
    both = list(zip(said, shares, strict=True))
    entropies = [-s * math.log(p) - (1 - s) * math.log(1 - p) for p, s in both]
    entropy = (5 * sum(entropies[:3]) + entropies[3]) / 16
    # Common to both is what lies below the two curves, (p + s - |p - s|) / 2.
    common = sum((p + s - abs(p - s)) / 2 for p, s in both)
    dice = 1 - 2 * common / (sum(said) + sum(shares))
    assert ReaderShareLoss()(logits, label).item() == pytest.approx(dice + entropy, abs=1e-4)


def test_reader_share_is_least_where_the_network_says_the_share():
    shares = torch.tensor([0.25, 0.5, 0.75]).reshape(1, 1, 3, 1, 1)
    right = torch.cat([torch.zeros_like(shares), torch.logit(shares)], dim=1)
    loss = ReaderShareLoss()
    for change in (-0.5, 0.5):
        other = right.clone()
        other[:, 1] += change
        assert loss(right, shares) < loss(other, shares)
