"""CentredUNet3d keeps the network contract, and knows where the middle is."""

import pytest
import torch

from lungseg3d.networks import CentredUNet3d


def tiny() -> CentredUNet3d:
    torch.manual_seed(0)
    return CentredUNet3d(channels=(4, 6, 8)).eval()


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 12, 21)])
def test_any_size_goes_in_and_logits_of_that_size_come_out_scripted_too(size):
    network, image = tiny(), torch.rand(2, 1, *size)
    with torch.no_grad():
        logits = network(image)
        assert logits.shape == (2, 2, *size)
        torch.testing.assert_close(torch.jit.script(network)(image), logits, atol=1e-5, rtol=1e-5)


def test_the_second_channel_is_one_in_the_middle_and_falls_with_distance_alike_on_all_sides():
    seen = []
    network = tiny()
    network.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(torch.rand(1, 1, 17, 17, 17))
    near = seen[0][0, 1]
    assert near[8, 8, 8] == 1
    assert near[16, 8, 8] == pytest.approx(torch.exp(torch.tensor(-0.5)).item())
    for axis in range(3):
        torch.testing.assert_close(near, near.flip(axis))


def test_it_learns_to_mark_only_the_ball_in_the_middle():
    torch.manual_seed(0)
    network = CentredUNet3d(channels=(8, 16), sigma_voxels=3)
    places = torch.stack(torch.meshgrid(*[torch.arange(16.0)] * 3, indexing="ij"), dim=-1)
    middle, beside = ((places - torch.tensor(c)).norm(dim=-1) < 3 for c in ((7.5, 7.5, 7.5), (12.5, 3.5, 3.5)))
    image = (middle | beside).float()[None, None]
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)
    for _ in range(120):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(image), middle.long()[None]).backward()
        optimizer.step()
    found = network(image).argmax(dim=1)[0].bool()
    assert found[middle].float().mean() > 0.9
    assert found[beside].float().mean() < 0.1
