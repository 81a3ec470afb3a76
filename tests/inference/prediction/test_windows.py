"""WindowInferer: windows change nothing, windows without lung are never run, places stay."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer

from lungseg3d.inference import WindowInferer
from lungseg3d.networks import LightUNet3d


class Seen(list):
    """Shapes of windows; copies of a network share them."""

    def __deepcopy__(self, memo: dict) -> Seen:
        return self


class Counting(torch.nn.Module):
    """A network that counts the windows it is given."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, Seen()
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen += [tuple(image.shape[2:])] * len(image)
        return self.network(image)

    @property
    def windows(self) -> int:
        return len(self.seen)

    @property
    def sizes(self) -> set[tuple[int, ...]]:
        return set(self.seen)


@pytest.fixture
def local() -> torch.nn.Module:
    """One convolution of 1 x 1 x 1: what it says of a voxel depends on that voxel alone."""
    torch.manual_seed(0)
    return torch.nn.Conv3d(1, 3, 1)


@pytest.fixture
def unet() -> torch.nn.Module:
    torch.manual_seed(0)
    return LightUNet3d(channels=(4, 8)).eval()


def run(network, image, mask=None, **options):
    with torch.no_grad():
        return WindowInferer(**{"precision": "fp32", **options})(image, network, mask=mask)


def foreground(network, image):
    with torch.no_grad():
        return network(image).softmax(dim=1)[:, 1:]


@pytest.mark.parametrize("window", [(16, 16, 16), (32, 16, 48), (96, 96, 96)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("placement", ["grid", "tight", "seamless"])
def test_a_local_network_gives_the_same_through_any_windows(local, window, overlap, placement):
    image = torch.rand(1, 1, 40, 33, 50)
    result = run(local, image, roi_size=window, overlap=overlap, batch_size=3, placement=placement)
    assert result.shape == (1, 2, 40, 33, 50)
    torch.testing.assert_close(result, foreground(local, image), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(32, 48, 16), (32, 32, 32)])
def test_a_window_that_covers_the_image_is_one_full_pass(unet, size):
    image, counting = torch.rand(1, 1, *size), Counting(unet)
    result = run(counting, image, roi_size=(96, 96, 96))
    torch.testing.assert_close(result, foreground(unet, image), atol=1e-6, rtol=1e-5)
    assert counting.windows == 1
    assert counting.sizes == {size}


def test_padding_of_a_small_image_is_its_border_going_on_and_is_cut_back(unet):
    image, counting = torch.rand(1, 1, 20, 7, 33), Counting(unet)
    result = run(counting, image, roi_size=(96, 96, 32))
    assert result.shape == (1, 1, 20, 7, 33)
    assert counting.sizes == {(32, 16, 32)}
    whole = run(unet, image, roi_size=(96, 96, 96))
    padded = torch.nn.functional.pad(image, (0, 15, 0, 9, 0, 12), mode="replicate")
    torch.testing.assert_close(whole, foreground(unet, padded)[:, :, :20, :7, :33], atol=1e-6, rtol=1e-5)


def test_windows_without_mask_are_never_run(local):
    image, counting = torch.rand(1, 1, 64, 64, 64), Counting(local)
    mask = torch.zeros(1, 1, 64, 64, 64, dtype=torch.uint8)
    mask[0, 0, 3, 3, 3] = mask[0, 0, 60, 5, 40] = 1
    result = run(counting, image, mask, roi_size=(16, 16, 16), overlap=0.0)
    assert counting.windows == 2
    expected = foreground(local, image)
    for x, y, z in ((slice(16), slice(16), slice(16)), (slice(48, 64), slice(16), slice(32, 48))):
        torch.testing.assert_close(result[..., x, y, z], expected[..., x, y, z], atol=1e-6, rtol=1e-5)
        result[..., x, y, z] = 0
    assert not result.any()


def test_tight_windows_without_mask_are_never_run_either(local):
    image, counting = torch.rand(1, 1, 64, 64, 64), Counting(local)
    mask = torch.zeros(1, 1, 64, 64, 64, dtype=torch.uint8)
    mask[0, 0, 3, 3, 3] = mask[0, 0, 60, 5, 40] = 1
    result = run(counting, image, mask, roi_size=(16, 16, 16), overlap=0.0, placement="tight", margin=0)
    assert counting.windows == 2
    seen = result[0, 0] > 0
    assert int(seen.sum()) == 2 * 16**3
    assert seen[3, 3, 3]
    assert seen[60, 5, 40]
    torch.testing.assert_close(result[..., seen], foreground(local, image)[..., seen], atol=1e-6, rtol=1e-5)


def test_the_grid_is_monais_sliding_window(unet):
    image = torch.rand(1, 1, 40, 48, 32)
    with torch.no_grad():
        logits = SlidingWindowInferer((32, 32, 32), 2, 0.25, mode="gaussian")(image, lambda x: foreground(unet, x))
    torch.testing.assert_close(run(unet, image, roi_size=(32, 32, 32)), logits, atol=2e-3, rtol=1e-3)


def test_without_a_mask_every_window_is_run(local):
    counting = Counting(local)
    run(counting, torch.rand(1, 1, 64, 32, 16), roi_size=(16, 16, 16), overlap=0.0)
    assert counting.windows == 4 * 2 * 1


def test_an_empty_mask_runs_nothing_and_finds_nothing(local):
    image, counting = torch.rand(1, 1, 20, 20, 20), Counting(local)
    result = run(counting, image, torch.zeros(1, 1, 20, 20, 20))
    assert counting.windows == 0
    assert result.shape[2:] == (20, 20, 20)
    assert not result.any()


def test_a_mask_on_a_small_image_is_padded_with_it(local):
    image, mask = torch.rand(1, 1, 20, 20, 20), torch.zeros(1, 1, 20, 20, 20, dtype=torch.uint8)
    mask[..., 19, 19, 19] = 1
    torch.testing.assert_close(run(local, image, mask), foreground(local, image), atol=1e-6, rtol=1e-5)


def test_a_meta_tensor_comes_back_as_one_in_its_place(local):
    affine = torch.tensor([[-0.7, 0, 0, 3], [0, 0.7, 0, 4], [0, 0, 1.5, 5], [0, 0, 0, 1]], dtype=torch.float64)
    image = MetaTensor(torch.rand(1, 1, 17, 18, 19), affine=affine, meta={"filename_or_obj": "a.nii"})
    mask = MetaTensor(torch.ones(1, 1, 17, 18, 19, dtype=torch.uint8), affine=affine)
    result = run(local, image, mask)
    assert isinstance(result, MetaTensor)
    assert torch.equal(result.affine, affine)
    assert result.meta["filename_or_obj"] == "a.nii"
    assert type(run(local, torch.rand(1, 1, 16, 16, 16))) is torch.Tensor


def test_flips_average_over_the_mirror_images(unet):
    image = torch.rand(1, 1, 32, 16, 16)
    result = run(unet, image, flips=(0, 2))
    views = [foreground(unet, image)]
    views += [foreground(unet, image.flip(axis)).flip(axis) for axis in (2, 4)]
    torch.testing.assert_close(result, sum(views) / 3, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(result, views[0], atol=1e-4)


def test_flips_change_nothing_for_a_local_network(local):
    image = torch.rand(1, 1, 40, 20, 20)
    result = run(local, image, roi_size=(16, 16, 16), flips=(0, 1, 2))
    torch.testing.assert_close(result, foreground(local, image), atol=1e-6, rtol=1e-5)


def test_the_batch_size_changes_nothing_but_the_batches(unet):
    image = torch.rand(1, 1, 48, 32, 32)
    one, five = (run(unet, image, roi_size=(16, 16, 16), batch_size=size) for size in (1, 5))
    torch.testing.assert_close(one, five, atol=1e-6, rtol=1e-5)


@pytest.mark.bf16
def test_bf16_comes_close_and_probabilities_are_float32(unet):
    image = torch.rand(1, 1, 32, 32, 32)
    result = run(unet, image, precision="bf16")
    assert result.dtype == torch.float32
    assert (result - run(unet, image)).abs().max() < 0.05


@pytest.mark.parametrize("flips", [(), (0, 2)])
@pytest.mark.parametrize("largest", [(80, 80, 96), (96, 80, 80), (320, 256, 192)])
def test_seamless_windows_give_what_the_network_says_of_the_whole_image_at_once(unet, largest, flips):
    image, counting = torch.rand(1, 1, 112, 80, 144), Counting(unet)
    counting.reach_voxels = unet.reach_voxels
    result = run(counting, image, placement="seamless", largest=largest, flips=flips)
    views = [foreground(unet, image)]
    views += [foreground(unet, image.flip(axis + 2)).flip(axis + 2) for axis in flips]
    torch.testing.assert_close(result, sum(views) / len(views), atol=1e-6, rtol=1e-5)
    assert (counting.windows > len(views)) == (max(largest) < 320)
    assert all(side <= most for size in counting.sizes for side, most in zip(size, largest, strict=True))


def test_seamless_windows_that_keep_no_mask_are_never_run(unet):
    image, counting = torch.rand(1, 1, 64, 64, 144), Counting(unet)
    counting.reach_voxels = unet.reach_voxels
    mask = torch.zeros(1, 1, 64, 64, 144, dtype=torch.uint8)
    mask[0, 0, 3, 60, 140] = 1
    result = run(counting, image, mask, placement="seamless", largest=(80, 80, 80))
    assert counting.windows == 1
    kept = result[0, 0].any(dim=0).any(dim=0)
    assert kept[140]
    torch.testing.assert_close(result[..., kept], foreground(unet, image)[..., kept], atol=1e-6, rtol=1e-5)
    nothing = run(counting, image, torch.zeros_like(mask), placement="seamless")
    assert counting.windows == 1
    assert not nothing.any()


def test_a_network_that_does_not_say_how_far_it_reaches_gets_the_grid(unet):
    image, silent = torch.rand(1, 1, 48, 32, 32), Counting(unet)
    result = run(silent, image, placement="seamless", roi_size=(32, 32, 32))
    assert silent.windows == 2
    torch.testing.assert_close(result, run(unet, image, roi_size=(32, 32, 32)))


def test_a_backend_that_computes_a_window_at_once_gets_the_grid(unet):
    pytest.importorskip("openvino")
    image = torch.rand(1, 1, 48, 32, 32)
    result = run(unet, image, placement="seamless", roi_size=(32, 32, 32), backend="openvino")
    torch.testing.assert_close(result, run(unet, image, roi_size=(32, 32, 32)), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(result, run(unet, image, placement="seamless", roi_size=(32, 32, 32)), atol=1e-3)


@pytest.mark.parametrize(("reach", "windows"), [(26, 1), (27, 2)])
def test_a_network_that_reaches_too_far_gets_the_grid(unet, reach, windows):
    counting = Counting(unet)
    counting.reach_voxels = reach
    run(counting, torch.rand(1, 1, 48, 32, 32), placement="seamless", roi_size=(32, 32, 32), largest=(80, 80, 80))
    assert counting.windows == windows


@pytest.mark.parametrize("placement", ["grid", "seamless"])
def test_sides_that_no_deepest_grid_fills_are_padded_and_cut_back(unet, placement):
    image = torch.rand(1, 1, 37, 50, 21)
    padded = torch.nn.functional.pad(image, (0, 11, 0, 14, 0, 11), mode="replicate")
    expected = foreground(unet, padded)[:, :, :37, :50, :21]
    torch.testing.assert_close(run(unet, image, placement=placement), expected, atol=1e-6, rtol=1e-5)


def test_an_unknown_placement_is_an_error():
    with pytest.raises(ValueError, match="'loose', expected one of grid, tight, seamless"):
        WindowInferer(placement="loose")


def test_a_window_that_no_network_here_can_halve_is_refused():
    with pytest.raises(ValueError, match="multiple of 16"):
        WindowInferer(roi_size=(96, 90, 96))
    with pytest.raises(ValueError, match=r"largest .* multiple of 16"):
        WindowInferer(largest=(96, 90, 96))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_an_image_on_the_cpu_and_a_network_on_cuda_meet(unet):
    image = torch.rand(1, 1, 40, 32, 32)
    expected = run(unet, image, roi_size=(32, 32, 32))
    result = run(unet.cuda(), image, roi_size=(32, 32, 32))
    assert result.device.type == "cpu"
    torch.testing.assert_close(result, expected, atol=1e-3, rtol=1e-3)
