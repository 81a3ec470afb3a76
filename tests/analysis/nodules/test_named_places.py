"""Outlines of places that were named become nodules, whatever their size and shape; neighbours stay apart."""

from __future__ import annotations

import numpy as np

from lungseg3d.analysis import map_places, place_issues
from lungseg3d.core import Grid, Volume, place_in

GRID = Grid((40, 30, 20), np.diag([1.0, 1.0, 2.0, 1.0]))
WORKING = Grid((40, 30, 40), np.diag([1.0, 1.0, 1.0, 1.0]))


def outline(*blocks: tuple[slice, slice, slice]) -> Volume:
    """Probability 1 in blocks of the working grid of 1 mm."""
    array = np.zeros(WORKING.shape, np.float32)
    for block in blocks:
        array[block] = 1
    return Volume(array, WORKING.affine)


def block(x: int, y: int, z: int, r: int = 3) -> tuple[slice, slice, slice]:
    return slice(x - r, x + r + 1), slice(y - r, y + r + 1), slice(z - r, z + r + 1)


def named(*places: str):
    return [place_in(GRID, place) for place in places]


def test_each_place_is_told_which_nodule_it_became_and_the_largest_is_the_first():
    small, large = outline(block(10, 10, 10)), outline(block(30, 20, 30, 5))
    found, places = map_places([small, large], named("10,10,5", "30,20,15"), GRID)
    assert [place.nodule for place in places] == [2, 1]
    assert found.labels.array[10, 10, 5] == 2
    assert found.labels.array[30, 20, 15] == 1
    assert found.labels.grid.matches(GRID)
    assert found.confidence == ()


def test_what_a_search_would_drop_is_kept():
    thread = (slice(5, 30), slice(10, 11), slice(10, 11))
    found, places = map_places([outline(thread), outline(block(35, 25, 30, 0))], named("15,10,5", "35,25,15"), GRID)
    assert [place.nodule for place in places] == [1, 2]
    assert (found.labels.array == 1).sum() >= 20
    assert (found.labels.array == 2).sum() == 1


def test_an_outline_away_from_the_place_is_that_of_something_else():
    there = outline(block(20, 10, 10))
    assert map_places([there], named("26,10,5"), GRID)[1][0].nodule == 1  # 3 mm off its surface
    found, places = map_places([there], named("27,10,5"), GRID)
    assert places[0].nodule is None
    assert not found.labels.array.any()


def test_the_cavity_of_a_nodule_lies_in_it():
    hollow = outline(block(20, 15, 20, 9))
    hollow.array[block(20, 15, 20, 6)] = 0
    found, places = map_places([hollow], named("20,15,10"), GRID)
    assert places[0].nodule == 1
    assert found.labels.array[20, 15, 10] == 1


def test_two_places_in_one_nodule_are_one_nodule():
    first, second = outline(block(20, 15, 20, 6)), outline((slice(15, 27), slice(9, 22), slice(14, 27)))
    found, places = map_places([first, second], named("18,15,10", "24,15,10"), GRID)
    assert [place.nodule for place in places] == [1, 1]
    # The second place lies just beyond the first outline, and its own is nearly the same.
    found, places = map_places([first, second], named("18,15,10", "27,15,10"), GRID)
    assert [place.nodule for place in places] == [1, 1]
    assert set(np.unique(found.labels.array)) == {0, 1}


def test_neighbours_that_touch_stay_two_and_a_voxel_of_both_belongs_to_the_first():
    first = outline((slice(5, 15), slice(10, 20), slice(10, 20)))
    second = outline((slice(13, 26), slice(10, 20), slice(10, 20)))
    found, places = map_places([first, second], named("10,15,7", "20,15,7"), GRID)
    assert [place.nodule for place in places] == [2, 1] or [place.nodule for place in places] == [1, 2]
    number = {place.name: place.nodule for place in places}
    assert found.labels.array[14, 15, 7] == number["10,15,7"]
    assert found.labels.array[15, 15, 7] == number["20,15,7"]


def test_a_reader_is_told_what_was_not_searched_and_which_places_are_empty():
    assert place_issues([]) == []
    _, places = map_places([outline(block(10, 10, 10)), outline()], named("10,10,5", "middle"), GRID)
    searched, empty = place_issues(places)
    assert (searched.code, empty.code) == ("W_NOT_SEARCHED", "W_EMPTY_PLACE")
    assert "(10,10,5; middle)" in searched.message
    assert empty.message.startswith("At middle the network outlines nothing")
    assert [issue.code for issue in place_issues(places[:1])] == ["W_NOT_SEARCHED"]
