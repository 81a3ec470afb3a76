"""Soft supervoxels cluster as k-means would, in shares that sum to one, and follow outlines."""

from __future__ import annotations

import pytest
import torch

from lungseg3d.networks.blocks.supervoxels import SupervoxelTransformer, TokenBlock, pool, soft_clusters


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(4, 4, 4), (5, 3, 7), (1, 1, 1)])
def test_every_voxel_belongs_to_the_supervoxels_in_shares_that_sum_to_one(size):
    transformer = SupervoxelTransformer(8, heads=2, cell=2)
    membership = transformer.membership(torch.randn(2, 8, *size))
    cells = [-(-n // 2) for n in size]
    voxels, supervoxels = size[0] * size[1] * size[2], cells[0] * cells[1] * cells[2]
    assert membership.shape == (2, voxels, supervoxels)
    assert (membership >= 0).all()
    torch.testing.assert_close(membership.sum(dim=2), torch.ones(2, voxels))


def test_sharp_clusters_are_k_means():
    points = torch.tensor([[[0.0], [1.0], [9.0], [11.0], [10.0]]])
    membership, centres = soft_clusters(points, torch.tensor([[[2.0], [7.0]]]), torch.tensor(100.0), iterations=3)
    assert membership[0].round().tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]
    torch.testing.assert_close(centres, torch.tensor([[[0.5], [10.0]]]))


def test_clusters_without_sharpness_are_all_the_mean():
    points = torch.randn(1, 6, 2)
    membership, centres = soft_clusters(points, torch.randn(1, 3, 2), torch.tensor(0.0), iterations=1)
    torch.testing.assert_close(membership, torch.full((1, 6, 3), 1 / 3))
    torch.testing.assert_close(centres, points.mean(dim=1, keepdim=True).expand(1, 3, 2), atol=1e-5, rtol=1e-5)


def test_soft_membership_is_the_softmax_of_minus_the_squared_distance():
    points, centres = torch.randn(1, 5, 3), torch.randn(1, 4, 3)
    membership, _ = soft_clusters(points, centres, torch.tensor(0.7), iterations=1)
    expected = torch.softmax(-0.7 * torch.cdist(points, centres) ** 2, dim=2)
    torch.testing.assert_close(membership, expected)


def test_pooling_is_a_weighted_mean():
    points = torch.tensor([[[2.0], [4.0], [10.0]]])
    membership = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]])
    torch.testing.assert_close(pool(points, membership), torch.tensor([[[(2 + 4 + 5) / 2.5], [10.0]]]))


def test_supervoxels_follow_an_outline_that_their_cells_cut():
    # The border lies at x = 3, in the middle of the cells of 2; features tell the sides apart, places hardly count.
    transformer = SupervoxelTransformer(1, heads=1, cell=2, embedding=1)
    with torch.no_grad():
        transformer.embed.weight.fill_(1)
        transformer.embed.bias.zero_()
        transformer.log_sharpness.fill_(3)
        transformer.log_place.fill_(-2)
    features = torch.zeros(1, 1, 6, 4, 4)
    features[:, :, 3:] = 4
    membership = transformer.membership(features)[0].reshape(6, 4, 4, -1)
    left, right = membership[2].mean(dim=(0, 1)), membership[3].mean(dim=(0, 1))
    assert (left * right).sum() < 0.01 * (left * left).sum()


def test_features_come_back_where_the_transformer_adds_nothing():
    transformer = SupervoxelTransformer(8, heads=2)
    with torch.no_grad():
        transformer.scatter.weight.zero_()
        transformer.scatter.bias.zero_()
    features = torch.randn(2, 8, 3, 4, 5)
    torch.testing.assert_close(transformer(features), features)


def test_clusters_learn_from_what_the_tokens_are_used_for():
    transformer, features = SupervoxelTransformer(8, heads=2), torch.randn(1, 8, 4, 4, 4)
    (transformer(features) ** 2).mean().backward()
    silent = [name for name, p in transformer.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert [name for name in silent if not name.endswith("bias")] == []


def test_tokens_in_another_order_give_the_same_tokens_in_that_order():
    block, tokens, order = TokenBlock(8, heads=2), torch.randn(2, 5, 8), torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(block(tokens[:, order]), block(tokens)[:, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"cell": 0}, {"iterations": 0}])
def test_cells_and_rounds_are_at_least_one(wrong):
    with pytest.raises(ValueError, match="both are at least 1"):
        SupervoxelTransformer(4, heads=1, **wrong)
