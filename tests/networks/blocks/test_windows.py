"""Windows partition and come back, and attention stays among tokens that belong together."""

from __future__ import annotations

import pytest
import torch

from lungseg3d.networks.blocks.windows import (
    WindowAttention,
    WindowBlock,
    axis_regions,
    from_windows,
    relative_positions,
    to_windows,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_from_windows_is_the_inverse_of_to_windows():
    grid = torch.randn(2, 4, 6, 8, 3)
    windows = to_windows(grid, 2)
    assert windows.shape == (2, 24, 8, 3)
    assert torch.equal(from_windows(windows, 2, 4, 6, 8), grid)


def test_a_window_holds_the_tokens_of_one_cube():
    grid = torch.arange(64.0).reshape(1, 4, 4, 4, 1)
    # Windows count z first, then y, then x: the last but one is x 2-3, y 2-3, z 0-1.
    assert sorted(to_windows(grid, 2)[0, 6, :, 0].tolist()) == sorted(grid[0, 2:, 2:, :2, 0].flatten().tolist())


def test_regions_of_a_rolled_axis_are_the_axis_its_end_and_the_padding():
    device = torch.device("cpu")
    assert axis_regions(6, 6, 0, device).tolist() == [0] * 6
    # 5 tokens padded to 6 and rolled by 1: 1 2 3 4 pad 0.
    assert axis_regions(5, 6, 1, device).tolist() == [0, 0, 0, 0, 2, 1]


def test_relative_positions_are_one_number_for_each_offset():
    index = relative_positions(2)
    assert index.shape == (8, 8)
    assert len(index.unique()) == 27
    assert index.diagonal().unique().tolist() == [13]  # no offset: the middle of 27
    # Token 0 to 1 is one step along z, as is 2 to 3.
    assert index[0, 1] == index[2, 3] != index[1, 0]


@pytest.mark.parametrize("shift", [0, 1])
def test_attention_of_one_window_is_multi_head_attention_with_the_bias(shift):
    attention, grid = WindowAttention(8, 2, window=2, shift=0), torch.randn(1, 2, 2, 2, 8)
    tokens = grid.reshape(8, 8)
    q, k, v = attention.query_key_value(tokens).reshape(8, 3, 2, 4).permute(1, 2, 0, 3)
    bias = attention.bias_table[attention.bias_index.flatten()].reshape(8, 8, 2).permute(2, 0, 1)
    scores = torch.softmax(q @ k.transpose(1, 2) / 2 + bias, dim=-1) @ v
    expected = attention.project(scores.transpose(0, 1).reshape(8, 8)).reshape(1, 2, 2, 2, 8)
    torch.testing.assert_close(attention(grid), expected, atol=1e-5, rtol=1e-5)


def influence(attention: WindowAttention, size: tuple[int, int, int], source: tuple[int, int, int]) -> set:
    """Places whose output changes when one token does."""
    grid = torch.randn(1, *size, 4)
    changed = grid.clone()
    changed[0, source[0], source[1], source[2]] += 1
    with torch.no_grad():
        difference = (attention(grid) - attention(changed)).abs().sum(dim=-1)[0]
    return {tuple(place) for place in (difference > 1e-6).nonzero().tolist()}


def cube(*ranges: range) -> set:
    return {(x, y, z) for x in ranges[0] for y in ranges[1] for z in ranges[2]}


def test_a_token_reaches_its_window_and_no_further():
    reached = influence(WindowAttention(4, 1, window=2), (4, 4, 4), (0, 1, 2))
    assert reached == cube(range(0, 2), range(0, 2), range(2, 4))


def test_a_shifted_window_reaches_across_the_border_but_never_round_the_volume():
    attention = WindowAttention(4, 1, window=2, shift=1)
    assert influence(attention, (4, 4, 4), (1, 1, 1)) == cube(range(1, 3), range(1, 3), range(1, 3))
    # The first token shares its rolled window with the last ones, and must not see them.
    assert influence(attention, (4, 4, 4), (0, 0, 0)) == {(0, 0, 0)}


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(5, 4, 3), (1, 1, 1), (9, 6, 2)])
def test_padding_changes_nothing(size, shift):
    # Larger than its window by nothing but padding: a window that the grid does not fill holds the same tokens.
    attention = WindowAttention(4, 2, window=4, shift=shift)
    grid = torch.randn(2, *size, 4)
    found = attention(grid)
    assert found.shape == grid.shape
    assert torch.isfinite(found).all()
    alone = influence(attention, size, (0, 0, 0))
    side = 4 - shift
    assert alone == cube(*(range(min(side, n)) for n in size))


def test_a_single_token_attends_to_itself_alone():
    attention, grid = WindowAttention(4, 2, window=4, shift=2), torch.randn(1, 1, 1, 1, 4)
    value = attention.query_key_value(grid)[..., 8:]
    torch.testing.assert_close(attention(grid), attention.project(value))


def test_a_block_without_weights_passes_its_tokens_on():
    block = WindowBlock(4, 2, window=2, shift=1)
    with torch.no_grad():
        for layer in (block.attention.project, block.perceptron[3]):
            layer.weight.zero_()
            layer.bias.zero_()
    grid = torch.randn(1, 3, 4, 5, 4)
    assert torch.equal(block(grid), grid)


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="10 channels do not divide by 4 heads"):
        WindowAttention(10, 4, window=2)
