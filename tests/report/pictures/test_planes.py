"""Sections and frames: which way up, and millimetres in the right place."""

import numpy as np
import pytest

from lungseg3d.core import Box
from lungseg3d.report.pictures.planes import AXIAL, CORONAL, OUTSIDE_HU, SAGITTAL, SectionWindow, cut_section


def make_grid_with_one_voxel(voxel, shape=(8, 6, 4)) -> np.ndarray:
    array = np.zeros(shape, dtype=np.int16)
    array[voxel] = 1
    return array


def test_an_axial_section_has_the_right_on_the_left_and_the_front_at_the_top():
    section = cut_section(make_grid_with_one_voxel((7, 5, 2)), AXIAL, 2)
    assert section.shape == (6, 8)
    assert np.argwhere(section).tolist() == [[0, 0]]


def test_a_coronal_section_has_the_right_on_the_left_and_the_head_at_the_top():
    section = cut_section(make_grid_with_one_voxel((7, 3, 3)), CORONAL, 3)
    assert section.shape == (4, 8)
    assert np.argwhere(section).tolist() == [[0, 0]]


def test_a_sagittal_section_has_the_front_on_the_left_and_the_head_at_the_top():
    section = cut_section(make_grid_with_one_voxel((2, 5, 3)), SAGITTAL, 2)
    assert section.shape == (4, 6)
    assert np.argwhere(section).tolist() == [[0, 0]]


def test_a_box_of_100_by_50_mm_is_drawn_two_to_one_on_an_anisotropic_grid():
    frame = SectionWindow.around_box(
        Box((10, 0, 10), (110, 9, 20)), CORONAL, (1.0, 1.0, 5.0), (120, 9, 40), longest=200
    )
    assert (frame.width, frame.height) == (200, 100)
    assert frame.pixel_mm == pytest.approx(0.5)
    assert (frame.left, frame.right, frame.top, frame.bottom) == (10, 110, 20, 30)


def test_the_centre_of_a_square_frame_is_the_voxel_it_was_asked_for():
    shape, voxel = (20, 30, 10), (4, 21, 6)
    frame = SectionWindow.around_point(voxel, AXIAL, (0.5, 2.0, 1.0), shape, field_mm=10.0, side=100)
    (row, column) = np.argwhere(cut_section(make_grid_with_one_voxel(voxel, shape), AXIAL, 6))[0]
    assert np.allclose(frame.to_picture(np.array([[column + 0.5, row + 0.5]])), [[50, 50]])


def test_the_outline_of_a_block_runs_midway_between_its_pixels_and_their_neighbours():
    mask = np.zeros((10, 10), dtype=bool)
    mask[3:6, 2:8] = True
    (line,) = SectionWindow(0, 0, 10, 10, 100, 100, 1.0).outlines(mask)
    assert line.min(axis=0) == pytest.approx([20, 30])
    assert line.max(axis=0) == pytest.approx([80, 60])


def test_the_outline_of_a_mask_at_the_edge_of_the_volume_is_closed():
    mask = np.zeros((6, 6), dtype=bool)
    mask[:3, :3] = True
    (line,) = SectionWindow(0, 0, 6, 6, 60, 60, 1.0).outlines(mask)
    assert np.allclose(line[0], line[-1])
    assert line.min(axis=0) == pytest.approx([0, 0])


def test_an_empty_mask_has_no_outline():
    assert list(SectionWindow(0, 0, 6, 6, 60, 60, 1.0).outlines(np.zeros((6, 6), dtype=bool))) == []


def test_where_the_volume_ends_the_picture_is_black_and_the_last_voxels_keep_their_hu():
    section = np.full((4, 4), 40, dtype=np.int16)
    seen = SectionWindow(-10, -10, 14, 14, 48, 48, 1.0).view(section)
    assert np.allclose(seen[20:28, 20:28], 40, atol=0.01)
    seen[20:28, 20:28] = OUTSIDE_HU
    assert (seen == OUTSIDE_HU).all()
