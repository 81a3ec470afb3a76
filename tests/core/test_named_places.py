"""Places that a person names: what is understood, where it lies, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lungseg3d.core import CaseResult, Grid, Place, case_result_of, named_voxel, place_in, to_json

GRID = Grid((10, 20, 31), np.array([[-2.0, 0, 0, 5], [0, 1, 0, -7], [0, 0, 3, 100], [0, 0, 0, 1]]))


def test_a_voxel_is_understood_as_text_and_as_numbers():
    assert named_voxel("31,40,22") == (31, 40, 22)
    assert named_voxel(" 31, 40.5 ,22 ") == (31, 40.5, 22)
    assert named_voxel((31, 40, np.int64(22))) == (31, 40, 22)
    assert named_voxel("middle") is None


@pytest.mark.parametrize("named", ["", "1,2", "1,2,3,4", "a,b,c", "1,2,nan", "1,2,inf", "centre", (1, 2), ("x", 1, 2)])
def test_what_is_no_place_is_refused_with_what_was_given(named):
    with pytest.raises(ValueError, match="neither middle nor three numbers"):
        named_voxel(named)


def test_a_place_lies_in_the_world_where_its_voxel_lies():
    assert place_in(GRID, "1,2,3") == Place("1,2,3", (1, 2, 3), (3, -5, 109), (-3, 5, 109))
    middle = place_in(GRID, "middle")
    assert middle.voxel == (4.5, 9.5, 15)
    assert middle.ras_mm == pytest.approx((-4, 2.5, 145))


@pytest.mark.parametrize("named", ["10,0,0", "0,19.5,0", "-1,0,0", "0,0,31"])
def test_a_place_outside_of_the_image_is_refused_with_the_size_of_the_image(named):
    with pytest.raises(ValueError, match="outside of the image of 10 x 20 x 31 voxels, which are 0,0,0 to 9,19,30"):
        place_in(GRID, named)
    place_in(GRID, "9,19,30")


def test_places_are_read_back_from_a_record_and_an_older_record_has_none():
    place = Place("1,2,3", (1.0, 2.0, 3.0), (3.0, -5.0, 109.0), (-3.0, 5.0, 109.0), 2)
    record = json.loads(json.dumps(to_json(CaseResult("a", "done", places=(place,)))))
    assert case_result_of(record).places == (place,)
    del record["places"]
    assert case_result_of(record).places == ()
