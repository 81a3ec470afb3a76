"""Nodules pasted or drawn into patches: the label marks them, the host stays itself around them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.engines import NoduleInsertion, NoduleSynthesis, OnlyLabels

DONOR_HU, LUNG_HU = 60.0, -850.0


def donor(radius: float = 6.0, size: int = 31) -> dict[str, torch.Tensor]:
    """A ball of soft tissue in lung."""
    axis = torch.arange(size) - size // 2
    away = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2).float().sqrt()
    ball = (away <= radius)[None]
    return {"image": torch.where(ball, DONOR_HU, LUNG_HU), "label": ball.to(torch.uint8)}


def lung(count: int = 4, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((count, 1, size, size, size), LUNG_HU), torch.zeros(count, 1, size, size, size, dtype=torch.uint8)


def generators(seed: int, count: int) -> list[np.random.Generator]:
    """One for each patch."""
    return [np.random.default_rng((seed, i)) for i in range(count)]


def insertion(**options) -> NoduleInsertion:
    return NoduleInsertion([donor()], **{"groups": ["hosts"], "probability": 1.0, **options})


def test_the_label_marks_exactly_what_was_pasted():
    hu, label = lung()
    image, marked = insertion()(hu, label, ["hosts"] * 4, generators(0, 4))
    middle = (DONOR_HU + LUNG_HU) / 2
    clear = (image - middle).abs() > 2  # a voxel half filled may fall to either side by rounding
    assert torch.equal((image > middle)[clear], (marked > 0)[clear])
    assert marked.flatten(1).any(dim=1).all()
    assert image.max() <= DONOR_HU + 0.1
    assert image.min() >= LUNG_HU - 0.1
    assert not label.any()
    assert (hu == LUNG_HU).all()


@pytest.mark.parametrize("zoom", [0.5, 1.0])
def test_a_pasted_nodule_has_the_donors_volume_times_the_zoom_cubed(zoom):
    hu, label = lung(count=6, size=48)
    _, marked = insertion(scale_range=(zoom, zoom))(hu, label, ["hosts"] * 6, generators(1, 6))
    wanted = float(donor()["label"].sum()) * zoom**3
    for count in marked.flatten(1).sum(dim=1).tolist():
        assert count == pytest.approx(wanted, rel=0.12)


def test_the_value_of_a_nodule_is_the_one_that_was_asked():
    _, marked = insertion(value=3)(*lung(), ["hosts"] * 4, generators(0, 4))
    assert set(marked.unique().tolist()) == {0, 3}


def test_patches_that_show_a_nodule_already_and_other_groups_stay_as_they_are():
    hu, label = lung()
    label[1, 0, 3, 3, 3] = 1
    image, marked = insertion()(hu, label, ["hosts", "hosts", "nodules", "hosts"], generators(0, 4))
    for i in (1, 2):
        assert torch.equal(image[i], hu[i])
        assert torch.equal(marked[i], label[i])
    for i in (0, 3):
        assert marked[i].any()


def test_denser_tissue_of_the_host_is_never_lowered_beside_the_nodule():
    hu, label = lung()
    hu[:, :, 16:] = 200.0  # a wall, denser than the donor's rim and than the nodule
    hu[:, :, :, ::5] = -300.0  # vessels
    image, marked = insertion()(hu, label, ["hosts"] * 4, generators(2, 4))
    outside = marked == 0
    assert (image[outside] >= hu[outside] - 1e-3).all()
    assert (image[~outside] <= DONOR_HU + 0.1).all()


def test_far_from_the_nodule_nothing_changes():
    hu, label = lung(count=4, size=48)
    hu += torch.rand(hu.shape) * 40
    image, marked = insertion()(hu, label, ["hosts"] * 4, generators(3, 4))
    near = torch.nn.functional.max_pool3d(marked.float(), 13, stride=1, padding=6) > 0
    assert (~near).any()
    torch.testing.assert_close(image[~near], hu[~near], atol=0.5, rtol=0)


def test_nodules_are_inserted_as_often_as_asked():
    hu, label = lung(count=60, size=12)
    _, marked = insertion(probability=0.4)(hu, label, ["hosts"] * 60, generators(0, 60))
    # 24 expected, with a standard deviation of 3.8.
    assert 10 <= int(marked.flatten(1).any(dim=1).sum()) <= 38


def test_no_donor_means_no_nodule():
    hu, label = lung()
    image, marked = NoduleInsertion([], ["hosts"], 1.0)(hu, label, ["hosts"] * 4, generators(0, 4))
    assert torch.equal(image, hu)
    assert not marked.any()


def test_a_healthy_case_gives_no_donor_and_the_others_do():
    healthy = {**donor(), "label": torch.zeros_like(donor()["label"])}
    assert len(NoduleInsertion([donor(), healthy, donor()], ["hosts"]).donors) == 2
    nothing = NoduleInsertion([healthy], ["hosts"], probability=1.0)
    hu, label = lung()
    assert torch.equal(nothing(hu, label, ["hosts"] * 4, generators(1, 4))[0], hu)
    assert not nothing.adds_labels


def synthesis(texture: str = "solid", **options) -> NoduleSynthesis:
    plan = {"groups": ["hosts"], "probability": 1.0, "texture_shares": {texture: 1.0}, "median_diameter_mm": 14.0}
    return NoduleSynthesis(**{**plan, **options})


def drawn(texture: str, hu: torch.Tensor | None = None, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    host, label = lung(count=count, size=48)
    return synthesis(texture)(host if hu is None else hu, label, ["hosts"] * count, generators(5, count))


def core_of(marked: torch.Tensor) -> torch.Tensor:
    """Voxels whose neighbours within 2 are all marked."""
    return -torch.nn.functional.max_pool3d(-marked.float(), 5, stride=1, padding=2) > 0


@pytest.mark.parametrize(("texture", "low_hu", "high_hu"), [("solid", -20, 90), ("ground-glass", -780, -380)])
def test_the_middle_of_a_drawn_nodule_has_the_density_of_its_kind(texture, low_hu, high_hu):
    image, marked = drawn(texture)
    middle = image[core_of(marked)]
    assert len(middle) > 100
    assert low_hu < middle.min()
    assert middle.max() < high_hu


def test_vessels_run_through_drawn_ground_glass_and_air_outside_stays_air():
    hu = torch.full((6, 1, 48, 48, 48), LUNG_HU)
    hu[:, :, :, ::6] = 0.0
    image, marked = drawn("ground-glass", hu)
    vessels = (hu == 0) & core_of(marked)
    assert vessels.any()
    assert (image[vessels] >= 0).all()
    far = torch.nn.functional.max_pool3d(marked.float(), 9, stride=1, padding=4) == 0
    assert torch.equal(image[far], hu[far])


def test_a_wall_is_neither_changed_nor_labelled():
    hu = torch.full((12, 1, 48, 48, 48), LUNG_HU)
    hu[:, :, 24:] = 50.0
    image, marked = drawn("solid", hu, count=12)
    assert marked.any()
    assert not marked[:, :, 24:].any()
    # The nodule's border is soft by half a voxel, so a breath of it reaches the first layer of the wall.
    torch.testing.assert_close(image[:, :, 24:], hu[:, :, 24:], atol=10, rtol=0)
    assert torch.equal(image[:, :, 27:], hu[:, :, 27:])


def test_drawn_nodules_have_the_sizes_that_were_asked():
    host, label = lung(count=40, size=64)
    _, marked = synthesis(median_diameter_mm=9.0)(host, label, ["hosts"] * 40, generators(0, 40))
    volumes_mm3 = marked.flatten(1).sum(dim=1).numpy()
    diameters_mm = (6 * volumes_mm3 / np.pi) ** (1 / 3)
    # Log-normal with SD 0.52: the median of 40 has a relative standard error of 1.25 * 0.52 / 40 ** 0.5 = 0.10.
    assert np.median(diameters_mm) == pytest.approx(9.0, rel=0.3)
    assert 2.0 < diameters_mm.min() < diameters_mm.max() < 31.0


def test_nothing_is_drawn_into_other_groups_or_beside_a_nodule():
    hu, label = lung(count=2)
    label[1, 0, 3, 3, 3] = 1
    image, marked = synthesis()(hu, label, ["nodules", "hosts"], generators(0, 2))
    assert torch.equal(image, hu)
    assert torch.equal(marked, label)


def test_a_nodule_lies_as_near_to_the_middle_as_asked_and_on_lungs_if_they_may_lie_beneath():
    hu, label = lung(count=6, size=40)
    label[:] = 2
    for insert in (
        insertion(jitter=0.02, beneath=[2], scale_range=(1.0, 1.0)),
        NoduleSynthesis(["hosts"], 1.0, texture_shares={"solid": 1.0}, jitter=0.02, beneath=[2]),
    ):
        _, marked = insert(hu, label, ["hosts"] * 6, generators(3, 6))
        assert set(marked.unique().tolist()) == {1, 2}
        for patch in marked:
            middle = torch.nonzero(patch[0] == 1).float().mean(dim=0)
            assert (middle - 19.5).abs().max() < 3
        _, untouched = insertion()(hu, label, ["hosts"] * 6, generators(3, 6))
        assert torch.equal(untouched, label)


def test_labels_that_have_served_become_background():
    hu, label = lung(count=1)
    label[0, 0, :4], label[0, 0, 4:8], label[0, 0, 8:12] = 1, 2, 3
    image, kept = OnlyLabels()(hu, label, ["hosts"], generators(0, 1))
    assert torch.equal(image, hu)
    assert torch.equal(kept > 0, label == 1)
    assert kept.dtype == label.dtype


def test_of_several_nodules_in_a_donor_the_one_in_the_middle_is_inserted():
    """A second ball in a corner changes nothing: the first lies in the middle of the crop."""
    two = donor(radius=4.0)
    two["label"] = two["label"].clone()
    two["label"][0, :3, :3, :3] = 1
    ours, theirs = (NoduleInsertion([case], ["hosts"]).donors[0] for case in (two, donor(radius=4.0)))
    assert torch.equal(ours[1], theirs[1])
    np.testing.assert_allclose(ours[2], theirs[2])
