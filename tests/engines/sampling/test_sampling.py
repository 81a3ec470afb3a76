"""RoiSampler: image and label stay in step, shares hold, sides change with the flip, a seed says it all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lungseg3d.core import BundleError
from lungseg3d.engines import (
    HuAugmentation,
    LargeFirst,
    PatchGeometry,
    RoiSampler,
    SourceGroup,
    unique_run_name,
)

P = 16


def smooth_case(seed: int = 0, shape=(36, 32, 28)) -> dict[str, torch.Tensor]:
    """HU that vary slowly, and the label that they make: 1 above -300 HU."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    phase = rng.uniform(0, 6, 3)
    hu = -300 + 600 * np.sin(x / 5 + phase[0]) * np.cos(y / 6 + phase[1]) * np.sin(z / 4 + phase[2])
    image = torch.from_numpy(hu.round().astype(np.int16))[None]
    return {"image": image, "label": (image > -300).to(torch.uint8)}


def constant_case(hu: int, label: int = 1) -> dict[str, torch.Tensor]:
    image = torch.full((1, 24, 24, 24), hu, dtype=torch.int16)
    return {"image": image, "label": torch.full_like(image, label).to(torch.uint8)}


def sampler_of(*groups: SourceGroup, **options) -> RoiSampler:
    plan = {"patch_size": P, "batch_size": 4, "batches_per_epoch": 3, **options}
    return RoiSampler(list(groups), **plan)


STILL = PatchGeometry(rotation_degrees=0.0, scale_range=(1.0, 1.0), anisotropy=0.0, flip_axes=())
UNTURNED = replace(STILL, anisotropy=0.05)


@pytest.mark.parametrize(
    "geometry",
    [
        UNTURNED,
        replace(UNTURNED, rotation_degrees=30.0),
        replace(UNTURNED, scale_range=(0.6, 1.6)),
        replace(UNTURNED, flip_axes=(0, 1, 2)),
        replace(STILL, strain=0.3, elastic_probability=1.0),
        PatchGeometry(strain=0.3),
    ],
    ids=["still", "turned", "zoomed", "flipped", "bent", "everything"],
)
def test_image_and_label_stay_in_step_however_the_patch_lies(geometry):
    # The patch lies inside the case: beyond it the image goes on, but nothing is labelled.
    case = smooth_case(shape=(64, 60, 56))
    centres = torch.zeros_like(case["label"])
    centres[0, 28:36, 26:34, 24:32] = 1
    group = SourceGroup("a", [{**case, "centres": centres}], foreground=0)
    batch = sampler_of(group, hu_range=(-1000, 400), geometry=geometry).batch()
    hu = batch["image"] * 1400 - 1000
    clear = (hu + 300).abs() > 150  # farther from the border than half a voxel of this slope
    assert clear.float().mean() > 0.3
    assert torch.equal((hu > -300)[clear], (batch["label"] > 0)[clear])


def test_an_unturned_patch_is_a_copy_of_the_case():
    case = smooth_case()
    centres = torch.zeros_like(case["label"])
    centres[0, 18, 15, 14] = 1
    group = SourceGroup("a", [{**case, "centres": centres}], foreground=0, jitter=0)
    batch = sampler_of(group, geometry=STILL).batch()
    # A patch of even size is centred on a voxel's centre, so its own voxels lie half-way between the case's.
    block = case["image"][0, 9:27, 6:24, 5:23].float()
    between = torch.nn.functional.avg_pool3d(block[None, None], 2, stride=1)[0, 0]
    expected = ((between[1:, 1:, 1:] + 1000) / 1400).clamp(0, 1)
    torch.testing.assert_close(batch["image"][0, 0], expected, atol=1e-4, rtol=0)


def test_batches_have_the_shapes_types_and_range_of_the_contract():
    sampler = sampler_of(SourceGroup("a", [smooth_case()]))
    batches = list(sampler)
    assert len(batches) == len(sampler) == 3
    for batch in batches:
        assert batch["image"].shape == batch["label"].shape == (4, 1, P, P, P)
        assert (batch["image"].dtype, batch["label"].dtype) == (torch.float32, torch.uint8)
        assert batch["image"].min() >= 0
        assert batch["image"].max() <= 1
        assert type(batch["image"]) is torch.Tensor


@pytest.mark.parametrize(("hu", "value"), [(-1000, 0.0), (-300, 0.5), (400, 1.0), (-2000, 0.0), (3000, 1.0)])
def test_the_hu_range_becomes_0_to_1(hu, value):
    batch = sampler_of(SourceGroup("a", [constant_case(hu)]), hu_range=(-1000, 400)).batch()
    torch.testing.assert_close(batch["image"], torch.full_like(batch["image"], value))


def test_the_same_seed_gives_the_same_batches_and_another_one_others():
    def batches(seed):
        group = SourceGroup("a", [smooth_case(0), smooth_case(1)])
        return [batch["image"] for batch in sampler_of(group, seed=seed)]

    first, again, other = batches(5), batches(5), batches(6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])


class Recorder:
    """An augmentation that changes nothing and keeps the group names it is given."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, image_hu, label, groups, rngs):
        self.names += list(groups)
        return image_hu, label


def test_groups_are_drawn_by_their_shares_and_named_to_augmentations():
    seen = Recorder()
    groups = [
        SourceGroup("a", [constant_case(-1000)], share=3),
        SourceGroup("b", [constant_case(400)], share=1),
        SourceGroup("never", [constant_case(0)], share=0),
        SourceGroup("empty", [], share=100),
    ]
    sampler = sampler_of(*groups, patch_size=4, batch_size=50, batches_per_epoch=8, augmentation=[seen])
    bright = torch.cat([batch["image"].flatten(1).mean(dim=1) for batch in sampler])
    assert len(seen.names) == 400
    assert [name == "b" for name in seen.names] == (bright > 0.5).tolist()
    assert set(seen.names) == {"a", "b"}
    # 100 of 400 expected, with a standard deviation of 9.
    assert 65 < seen.names.count("b") < 135


def test_emphasised_cases_are_drawn_that_many_times_as_often():
    cases = [constant_case(-500) | {"facts": {"texture": value}} for value in (1, 5)]
    group = SourceGroup("a", cases, emphasis={"texture": {"1": 3.0}})
    assert group.frequencies() == pytest.approx([0.75, 0.25])
    assert SourceGroup("a", cases).frequencies() == pytest.approx([0.5, 0.5])
    batches = sampler_of(
        SourceGroup(
            "a", [constant_case(-900) | {"facts": {"texture": 1}}, constant_case(300)], emphasis={"texture": {"1": 3.0}}
        ),
        batch_size=50,
    ).batch()
    rare = (batches["image"].flatten(1).mean(dim=1) < 0.5).sum()
    # 37.5 expected, with a standard deviation of 3.1.
    assert 27 <= int(rare) <= 47


def test_augmentations_see_hu_and_their_result_is_what_comes_out():
    def brighter(image_hu, label, groups, rngs):
        torch.testing.assert_close(image_hu, torch.full_like(image_hu, -1000))
        return image_hu + 700, label * 2

    batch = sampler_of(SourceGroup("a", [constant_case(-1000)]), augmentation=[brighter]).batch()
    torch.testing.assert_close(batch["image"], torch.full_like(batch["image"], 0.5))
    # At the patch's own middle nothing lies beyond the case, where no label is.
    assert set(batch["label"].unique().tolist()) <= {0, 2}
    assert (batch["label"] == 2).any()


def sided_case() -> dict[str, torch.Tensor]:
    """Label 1 and -800 HU on one side, label 2 and 0 HU on the other, and room around."""
    image = torch.full((1, 60, 60, 60), -800, dtype=torch.int16)
    image[:, :30] = 0
    label = torch.where(image < -400, 1, 2).to(torch.uint8)
    centres = torch.zeros_like(label)
    centres[0, 30, 30, 30] = 1
    return {"image": image, "label": label, "centres": centres}


def test_a_left_right_flip_swaps_the_lungs_labels_and_other_flips_do_not():
    for axes, mirrored in (((0,), True), ((1, 2), False)):
        group = SourceGroup("a", [sided_case()], foreground=0)
        geometry = replace(UNTURNED, flip_axes=axes, flip_swaps=((1, 2),))
        batch = sampler_of(group, geometry=geometry, batch_size=24).batch()
        # In the case, tissue (bright) lies at low x and is called 2. A flip puts it at high x, and it is 1 then.
        low_x_is_bright = batch["image"][:, 0, 1, P // 2, P // 2] > 0.5
        assert low_x_is_bright.any()
        assert (~low_x_is_bright).any() == mirrored
        # Whatever the flip, low x is called 2 and high x 1: the sides stay where a body has them.
        assert (batch["label"][:, 0, 1] == 2).all()
        assert (batch["label"][:, 0, -2] == 1).all()


def test_without_swaps_a_flip_moves_labels_with_the_image():
    group = SourceGroup("a", [sided_case()], foreground=0)
    batch = sampler_of(group, geometry=replace(UNTURNED, flip_axes=(0,)), batch_size=24).batch()
    bright = batch["image"][:, 0, 1, P // 2, P // 2] > 0.5
    assert torch.equal(batch["label"][:, 0, 1, P // 2, P // 2] == 2, bright)
    assert 0 < bright.sum() < 24


def speck_case() -> dict[str, torch.Tensor]:
    image = torch.full((1, 80, 80, 80), -850, dtype=torch.int16)
    label = torch.zeros(1, 80, 80, 80, dtype=torch.uint8)
    label[:, 12:16, 60:64, 38:42] = 1
    return {"image": image, "label": label}


def test_foreground_patches_contain_foreground():
    group = SourceGroup("a", [speck_case()], foreground=1.0, jitter=0.35)
    batch = sampler_of(group, geometry=replace(UNTURNED, flip_axes=(0, 1, 2)), batch_size=40).batch()
    assert batch["label"].flatten(1).any(dim=1).all()


def test_without_foreground_a_speck_is_hardly_met():
    group = SourceGroup("a", [speck_case()], foreground=0.0)
    batch = sampler_of(group, geometry=UNTURNED, batch_size=40).batch()
    # (20 / 80) ** 3 is 1.6 %: 0.6 patches of 40 expected.
    assert batch["label"].flatten(1).any(dim=1).sum() <= 5


def test_patches_are_centred_where_centres_allow_it():
    case = speck_case()
    case["centres"] = case["label"].clone()
    case["label"] = torch.zeros_like(case["label"])
    case["image"][:, 12:16, 60:64, 38:42] = 400
    batch = sampler_of(SourceGroup("a", [case], jitter=0), geometry=STILL, batch_size=20).batch()
    middle = batch["image"][:, 0, P // 2 - 1 : P // 2 + 1, P // 2 - 1 : P // 2 + 1, P // 2 - 1 : P // 2 + 1]
    assert (middle.flatten(1).max(dim=1).values > 0.4).all()


def test_patches_stray_from_their_centre_by_the_jitter_and_no_further():
    case = speck_case()
    case["label"] = torch.zeros_like(case["label"])
    ramp = torch.arange(80, dtype=torch.int16)[:, None, None].expand(80, 80, 80)[None] * 10 - 600
    case["centres"] = torch.zeros_like(case["label"])
    case["centres"][0, 40, 40, 40] = 1
    group = SourceGroup("a", [{**case, "image": ramp}], jitter=0.5)
    batch = sampler_of(group, geometry=STILL, batch_size=60).batch()
    x = (batch["image"][:, 0, P // 2 - 1 : P // 2 + 1].flatten(1).mean(dim=1) * 1400 - 400) / 10
    assert x.min() >= 40 - 0.5 * P - 0.01
    assert x.max() <= 40 + 0.5 * P + 0.01
    assert x.max() - x.min() > 0.7 * P


def test_beyond_the_case_its_border_goes_on_without_a_label():
    case = constant_case(40)
    batch = sampler_of(SourceGroup("a", [case]), patch_size=48, batch_size=2).batch()
    torch.testing.assert_close(batch["image"], torch.full_like(batch["image"], 1040 / 1400))
    assert (batch["label"] == 0).any()
    assert (batch["label"] == 1).any()


def test_two_processes_make_the_two_halves_of_the_batch_that_one_would_make():
    groups = [SourceGroup("a", [smooth_case(0), smooth_case(1)]), SourceGroup("b", [smooth_case(2)])]
    noise = HuAugmentation(probability=0.7)
    one = sampler_of(*groups, batch_size=6, augmentation=[noise], seed=3)
    two = [sampler_of(*groups, batch_size=3, augmentation=[noise], seed=3, process=(rank, 2)) for rank in (0, 1)]
    for _ in range(3):
        whole, parts = one.batch(), [sampler.batch() for sampler in two]
        for key in ("image", "label"):
            torch.testing.assert_close(torch.cat([part[key] for part in parts]), whole[key], atol=1e-5, rtol=0)
        assert parts[0]["case_id"] + parts[1]["case_id"] == whole["case_id"]
        assert not torch.equal(parts[0]["image"], parts[1]["image"])


def test_a_sampler_goes_on_where_another_was():
    group = SourceGroup("a", [smooth_case(0), smooth_case(1)])
    first, second = sampler_of(group, seed=1), sampler_of(group, seed=2)
    first.batch()
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        assert torch.equal(first.batch()["image"], second.batch()["image"])


def test_batches_name_the_cases_and_groups_that_they_are_made_of():
    cases = [constant_case(-900) | {"case_id": "dark"}, constant_case(300) | {"case_id": "bright"}]
    batch = sampler_of(SourceGroup("a", cases), SourceGroup("b", [constant_case(300)]), batch_size=30).batch()
    bright = (batch["image"].flatten(1).mean(dim=1) > 0.5).tolist()
    assert [name != "dark" for name in batch["case_id"]] == bright
    assert {(group, name) for group, name in zip(batch["group"], batch["case_id"], strict=True)} == {
        ("a", "dark"),
        ("a", "bright"),
        ("b", "0"),
    }


def test_of_several_patch_sizes_each_batch_has_one_and_all_occur():
    sampler = sampler_of(SourceGroup("a", [smooth_case()]), patch_size=[8, 16], batch_size=2)
    sizes = [tuple(sampler.batch()["image"].shape) for _ in range(30)]
    assert {size[2:] for size in sizes} == {(8, 8, 8), (16, 16, 16)}
    # 15 of 30 expected, with a standard deviation of 2.7.
    assert 5 <= sum(size[2] == 8 for size in sizes) <= 25


def test_large_cases_are_drawn_first():
    small, large = ({**constant_case(hu), "facts": {"diameter_mm": d}} for hu, d in ((-900, 5.0), (300, 25.0)))
    group = SourceGroup("a", [small, large], large_first=LargeFirst(start=0.5, batches=4))
    sampler = sampler_of(group, batch_size=20)
    shares = [float((sampler.batch()["image"].flatten(1).mean(dim=1) > 0.5).float().mean()) for _ in range(8)]
    assert shares[0] == 1.0
    assert 0 < min(shares[4:]) < 1


def test_no_case_is_a_clear_error():
    with pytest.raises(BundleError, match="E_NO_TRAINING_CASES: no case to train on"):
        sampler_of(SourceGroup("a", []), SourceGroup("b", []))


def test_runs_have_names_of_their_own():
    names = {unique_run_name("fold-1") for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("fold-1-") and len(name) == 15 for name in names)
