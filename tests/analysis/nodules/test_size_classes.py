"""Guideline tables, row by row, on both sides of every limit."""

import pytest

from lungseg3d.analysis import NoduleSize, fleischner, lung_rads


def sized(kind, mm, mm3=500.0, solid_mm=0.0, solid_mm3=0.0):
    return NoduleSize(kind, mm, mm3, solid_mm, solid_mm3)


@pytest.mark.parametrize(
    ("mm", "category"), [(5.94, "2"), (5.95, "3"), (7.9, "3"), (8.0, "4A"), (14.9, "4A"), (15.0, "4B"), (60.0, "4B")]
)
def test_lung_rads_of_a_solid_nodule_by_its_diameter_in_tenths_of_a_millimetre(mm, category):
    assert lung_rads(sized("solid", mm))[0] == category


@pytest.mark.parametrize(
    ("mm3", "category"), [(112.4, "2"), (112.6, "3"), (267, "3"), (268, "4A"), (1766, "4A"), (1767, "4B")]
)
def test_lung_rads_of_a_solid_nodule_by_its_volume(mm3, category):
    assert lung_rads(sized("solid", 5, mm3))[1] == category


@pytest.mark.parametrize(
    ("mm", "solid_mm", "category"),
    [(5.9, 5.9, "2"), (6.0, 0.0, "3"), (20.0, 5.9, "3"), (20.0, 6.0, "4A"), (20.0, 7.9, "4A"), (20.0, 8.0, "4B")],
)
def test_lung_rads_of_a_part_solid_nodule_looks_at_its_solid_part(mm, solid_mm, category):
    assert lung_rads(sized("part-solid", mm, solid_mm=solid_mm))[0] == category


def test_lung_rads_of_a_part_solid_nodule_by_volume():
    volumes = [(112, 112), (113, 112), (900, 113), (900, 267), (900, 268)]
    assert [lung_rads(sized("part-solid", 10, a, solid_mm3=b))[1] for a, b in volumes] == ["2", "3", "4A", "4A", "4B"]


def test_lung_rads_of_ground_glass_changes_at_30_mm_alone():
    assert [lung_rads(sized("ground-glass", mm))[0] for mm in (4, 29.9, 30.0)] == ["2", "2", "3"]
    assert [lung_rads(sized("ground-glass", 4, mm3))[1] for mm3 in (14136, 14137)] == ["2", "3"]


@pytest.mark.parametrize(
    ("mm", "mm3", "category"),
    [(3.9, 33, "2"), (4.0, 34, "3"), (5.9, 112, "3"), (6.0, 113, "4A"), (7.9, 267, "4A"), (8.0, 268, "4B")],
)
def test_lung_rads_of_a_new_solid_nodule_is_stricter(mm, mm3, category):
    assert lung_rads(NoduleSize("solid", mm, mm3, is_new=True)) == (category, category)


@pytest.mark.parametrize(
    ("mm", "mm3", "solid_mm", "solid_mm3", "category"),
    [(5.9, 112, 5.0, 100, "3"), (6.0, 113, 3.9, 33, "4A"), (6.0, 113, 4.0, 34, "4B"), (9.0, 400, 0.0, 0, "4A")],
)
def test_lung_rads_of_a_new_part_solid_nodule_looks_at_4_mm_of_solid(mm, mm3, solid_mm, solid_mm3, category):
    size = NoduleSize("part-solid", mm, mm3, solid_mm, solid_mm3, is_new=True)
    assert lung_rads(size) == (category, category)


def test_new_ground_glass_is_judged_as_any():
    assert [lung_rads(NoduleSize("ground-glass", mm, 4, is_new=True))[0] for mm in (29.9, 30.0)] == ["2", "3"]


def test_halves_are_rounded_up_in_tenths_and_in_whole_millimetres():
    assert lung_rads(sized("solid", 14.95))[0] == "4B"
    assert lung_rads(sized("solid", 14.94))[0] == "4A"
    assert lung_rads(sized("solid", 5, 1766.5))[1] == "4B"
    assert fleischner(sized("ground-glass", 5.5))[0] == "ground-glass, >=6 mm"


@pytest.mark.parametrize(
    ("mm", "text"), [(5.49, "<6 mm"), (5.5, "6-8 mm"), (8.49, "6-8 mm"), (8.5, ">8 mm"), (30, ">8 mm")]
)
def test_fleischner_rounds_the_mean_diameter_to_whole_millimetres(mm, text):
    assert fleischner(sized("solid", mm))[0] == f"solid, {text}"


@pytest.mark.parametrize(
    ("mm3", "text"), [(99, "<100 mm3"), (100, "100-250 mm3"), (250, "100-250 mm3"), (251, ">250 mm3")]
)
def test_fleischner_by_volume(mm3, text):
    assert fleischner(sized("solid", 7, mm3))[1] == f"solid, {text}"


def test_fleischner_of_subsolid_nodules():
    assert fleischner(sized("ground-glass", 5, 60)) == ("ground-glass, <6 mm", "ground-glass, <100 mm3")
    assert fleischner(sized("part-solid", 9, 400, solid_mm=5.4))[0] == "part-solid, >=6 mm, solid part <6 mm"
    assert fleischner(sized("part-solid", 9, 400, solid_mm=5.5))[0] == "part-solid, >=6 mm, solid part >=6 mm"
