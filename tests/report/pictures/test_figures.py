"""Pictures of a block chest: what is where, in which colour, and the same for every order of axes."""

import io

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lungseg3d.core import Box, GeometryError, LocalMap, Volume
from lungseg3d.core.labels import LEFT_LUNG, NODULE, RIGHT_LUNG
from lungseg3d.report import PanelStyle, Scene, axial_view, coronal_overview, explanation_picture, nodule_panels


def read_pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def find_colour(pixels: np.ndarray, colour, tolerance=60) -> np.ndarray:
    """(row, column) of the pixels near a colour, of which greys are far."""
    return np.argwhere(np.abs(pixels - colour).sum(axis=2) < tolerance)


def turned(volume: Volume, order, signs) -> Volume:
    affine = np.zeros((4, 4))
    affine[:, 3] = volume.affine[:, 3]
    for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, axis] = sign * volume.affine[:3, source]
        if sign < 0:
            affine[:3, 3] += (volume.shape[source] - 1) * volume.affine[:3, source]
    return Volume(volume.array.transpose(order)[tuple(slice(None, None, s) for s in signs)], affine)


def test_the_right_lung_is_outlined_on_the_left_of_the_axial_picture(chest):
    pixels = read_pixels(axial_view(Scene.of(*chest(cubes=())), 15, longest=300))
    right, left = find_colour(pixels, RIGHT_LUNG.colour), find_colour(pixels, LEFT_LUNG.colour)
    assert len(right) > 100
    assert len(left) > 100
    assert right[:, 1].max() < 150 < left[:, 1].min()


def test_a_bright_voxel_in_front_on_the_patients_right_is_upper_left():
    shape = (60, 60, 8)
    hu = np.full(shape, -900, dtype=np.int16)
    hu[45:48, 50:53, 3:6] = 300
    empty = np.zeros(shape, dtype=np.uint8)
    scene = Scene.of(*(Volume(array, np.eye(4)) for array in (hu, empty, empty)))
    pixels = read_pixels(axial_view(scene, 4, longest=240))
    # The side letters and the scale bar are white too: look above half height only.
    rows, columns = np.nonzero(pixels[:100].sum(axis=2) == 3 * 255)
    assert rows.mean() == pytest.approx((60 - 51.5 + 0.0) * 4, abs=3)
    assert columns.mean() == pytest.approx((60 - 46.5) * 4, abs=3)


def test_the_outline_in_an_axial_picture_lies_around_the_nodule(chest):
    scene = Scene.of(*chest(cubes=((14, 20, 10, 6),)))
    box, pixels = scene.chest_box, read_pixels(axial_view(scene, 12, longest=560))
    scale = 560 / box.shape[0]
    found = find_colour(pixels, NODULE.colour)
    rows = (box.stop[1] - 26) * scale, (box.stop[1] - 20) * scale
    columns = (box.stop[0] - 20) * scale, (box.stop[0] - 14) * scale
    assert found.min(axis=0) == pytest.approx([rows[0], columns[0]], abs=2)
    assert found.max(axis=0) == pytest.approx([rows[1], columns[1]], abs=2)


def test_no_lung_line_runs_around_a_nodule_inside_the_lung(chest):
    scene = Scene.of(*chest(cubes=((14, 20, 10, 6),)))
    scale = 560 / scene.chest_box.shape[0]
    lung = find_colour(read_pixels(axial_view(scene, 12, longest=560)), LEFT_LUNG.colour)
    inner = (np.array([[48 - 30, 64 - 24], [48 - 16, 64 - 10]]) - [0, 64 - scene.chest_box.stop[0]]) * scale
    assert not ((lung > inner[0]) & (lung < inner[1])).all(axis=1).any()


def test_a_slice_beside_the_nodule_shows_no_outline_of_it(chest):
    pixels = read_pixels(axial_view(Scene.of(*chest()), 20, longest=300))
    assert len(find_colour(pixels, NODULE.colour)) == 0


def test_a_nodule_twice_as_high_as_wide_in_mm_is_drawn_so_in_the_coronal_plane(chest):
    scene = Scene.of(*chest(cubes=((14, 20, 10, 6),), spacing_mm=(1.0, 1.0, 2.0)))
    panel = nodule_panels(scene, 1)[1]
    width, height = np.ptp(np.concatenate(panel.outline), axis=0)
    assert panel.plane == "coronal"
    assert height / width == pytest.approx(2.0, abs=0.01)
    assert width == pytest.approx(6.0 * 400 / panel.field_mm, abs=0.5)


def test_a_nodule_lies_in_the_middle_of_its_three_panels(chest):
    for panel in nodule_panels(Scene.of(*chest()), 1):
        line = np.concatenate(panel.outline)
        assert (line.min(axis=0) + line.max(axis=0)) / 2 == pytest.approx([200, 200], abs=1)
        # What is bright lies inside the line.
        grey = read_pixels(panel.image)[:, :, 0]
        assert grey[190:210, 190:210].min() > 200
        assert grey[int(line[:, 1].min()) - 20, 200] < 120


def test_the_picture_of_a_panel_has_no_colour(chest):
    for panel in nodule_panels(Scene.of(*chest()), 1):
        assert np.ptp(read_pixels(panel.image), axis=2).max() == 0


def test_another_nodule_in_the_field_has_lines_of_its_own(chest):
    near, far = nodule_panels(Scene.of(*chest(cubes=((14, 20, 10, 6), (22, 20, 10, 3)))), 1)[:2]
    assert set(near.others) == set(far.others) == {2}
    assert np.concatenate(near.others[2])[:, 0].max() < np.concatenate(near.outline)[:, 0].min()


def test_a_map_lies_where_the_nodule_is_for_every_order_of_axes(chest):
    ct, labels, nodules = chest(cubes=((14, 20, 10, 6),))
    box = Box((12, 18, 8), (22, 28, 18))
    values = np.zeros(box.shape, np.float32)
    values[2:8, 2:8, 2:8] = 1.0
    for order, signs in (((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1))):
        volumes = [turned(volume, order, signs) for volume in (ct, labels, nodules)]
        whole = ct.with_array(np.zeros(ct.shape, np.float32))
        whole.array[box.slices] = values
        there = turned(whole, order, signs)
        place = Box.around(there.array > 0)
        part = LocalMap(place, there.array[place.slices]).as_ras(volumes[0].grid)
        style = PanelStyle(side=100, overlay_side=100)
        for panel in nodule_panels(Scene.of(*volumes), 1, style, {"heat": part}):
            heat = panel.overlays["heat"]
            line = np.concatenate(panel.outline)
            rows, columns = np.nonzero(heat > 0.5)
            assert [columns.min(), rows.min()] == pytest.approx(line.min(axis=0), abs=2)
            assert [columns.max(), rows.max()] == pytest.approx(line.max(axis=0), abs=2)


def test_the_picture_of_an_explanation_shows_ct_and_heat_in_three_planes(chest):
    scene = Scene.of(*chest(cubes=((14, 20, 10, 6),)))
    heat = LocalMap(scene.boxes[1], np.ones(scene.boxes[1].shape, np.float32))
    pixels = read_pixels(explanation_picture(scene, 1, heat, "encoder.2"))
    top, bottom = pixels[: len(pixels) // 2], pixels[len(pixels) // 2 :]
    assert len(find_colour(top, NODULE.colour)) > 300
    warm = (bottom[:, :, 0] - bottom[:, :, 2] > 60).sum(axis=0)
    assert all(warm[third].max() > 20 for third in (slice(0, 340), slice(350, 690), slice(700, 1030)))
    assert (top[:, :, 0] - top[:, :, 2] > 150).sum() < (bottom[:, :, 0] - bottom[:, :, 2] > 60).sum() / 3


def test_a_nodule_larger_than_the_field_is_shown_whole(chest):
    panels = nodule_panels(Scene.of(*chest(cubes=((9, 10, 5, 20),), spacing_mm=(1.0, 1.0, 3.0))), 1)
    assert panels[0].field_mm == 80
    assert np.ptp(np.concatenate(panels[1].outline), axis=0)[1] == pytest.approx(60 * 400 / 80, abs=0.5)


def test_the_overview_marks_every_nodule_at_its_own_height_and_side(chest):
    scene = Scene.of(*chest(cubes=((14, 20, 18, 5), (44, 12, 6, 4))))
    box, pixels = scene.chest_box, read_pixels(coronal_overview(scene, longest=560))
    height, width = pixels.shape[:2]
    found = find_colour(pixels, NODULE.colour)
    for x, z in ((16.5, 20.5), (46, 8)):
        row, column = (box.stop[2] - z) * height / box.shape[2], (box.stop[0] - x) * width / box.shape[0]
        assert (np.abs(found - [row, column]).max(axis=1) < 40).any()
    assert (found[:, 0] < height / 2).any()
    assert (found[:, 0] > height / 2).any()


@pytest.mark.parametrize(
    ("order", "signs"), [((0, 1, 2), (-1, -1, 1)), ((2, 1, 0), (1, 1, -1)), ((1, 2, 0), (-1, 1, 1))]
)
def test_a_flipped_or_permuted_ct_gives_the_same_picture_bytes(chest, order, signs):
    volumes = chest()
    scene, other = Scene.of(*volumes), Scene.of(*(turned(volume, order, signs) for volume in volumes))
    assert axial_view(scene, 12, longest=200) == axial_view(other, 12, longest=200)
    assert coronal_overview(scene, longest=200) == coronal_overview(other, longest=200)
    small = PanelStyle(side=100)
    for one, two in zip(nodule_panels(scene, 1, small), nodule_panels(other, 1, small), strict=True):
        assert (one.image, one.section, one.field_mm) == (two.image, two.section, two.field_mm)
        assert np.array_equal(np.concatenate(one.outline), np.concatenate(two.outline))


def test_a_label_map_from_another_grid_is_refused(chest):
    ct, labels, nodule_map = chest()
    shifted = Volume(labels.array, labels.affine + np.array([[0, 0, 0, 5.0]] + [[0, 0, 0, 0]] * 3))
    with pytest.raises(GeometryError, match=r"E_GRID_MISMATCH.*label map"):
        Scene.of(ct, shifted, nodule_map)


def test_an_unknown_image_format_is_named(chest):
    with pytest.raises(ValueError, match="gif"):
        axial_view(Scene.of(*chest()), 12, "gif")


@pytest.mark.real
def test_the_outline_of_a_real_nodule_lies_around_what_is_bright(real_data):
    name = "nodule-00012.nii.gz"
    image, label = (nib.load(real_data / "nodules_luna" / kind / name) for kind in ("images", "labels"))
    mask = np.asarray(label.dataobj) > 0
    ct = Volume(np.asarray(image.dataobj).astype(np.int16), image.affine)
    scene = Scene.of(ct, ct.with_array(mask.astype(np.uint8) * NODULE.value), ct.with_array(mask.astype(np.uint16)))
    for panel in nodule_panels(scene, 1):
        line = np.rint(np.concatenate(panel.outline)).astype(int)
        (left, top), (right, bottom) = line.min(axis=0), line.max(axis=0)
        grey = read_pixels(panel.image)[:, :, 0]
        row, column = (top + bottom) // 2, (left + right) // 2
        middle = grey[row - 8 : row + 8, column - 8 : column + 8]
        rim = np.concatenate([grey[top, left:right], grey[bottom, left:right], grey[top:bottom, left]])
        assert middle.mean() > rim.mean() + 40
