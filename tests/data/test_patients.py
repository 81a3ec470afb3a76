"""Names of images -> patients: time points are taken off, numbers of cases are not."""

from __future__ import annotations

import pytest

from lungseg3d.data import assumed_patients, join_patients


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["P08_t0", "P08_t1", "P09_t0"], ["P08", "P08", "P09"]),
        (["P08_t0", "P08_t1"], ["P08", "P08"]),
        (["P1-baseline", "P1-followup", "P2-baseline"], ["P1", "P1", "P2"]),
        (["P1_pre", "P1_post", "P10_pre"], ["P1", "P1", "P10"]),
        (["sub-01_ses-1_ct", "sub-01_ses-2_ct", "sub-02_ses-1_ct"], ["sub-01", "sub-01", "sub-02"]),
        (["17_20240131", "17_2025-01-31", "18_20240131"], ["17", "17", "18"]),
        (["P08_1", "P08_2", "P09_1"], ["P08", "P08", "P09"]),
        (["p1/t0/ct", "p1/t1/ct"], ["p1", "p1"]),
    ],
)
def test_a_time_point_is_not_part_of_a_patients_name(names, patients):
    assert assumed_patients(names) == patients


@pytest.mark.parametrize(
    "names",
    [
        ["lung_001", "lung_002"],
        ["case_0000", "case_0001"],
        ["c0", "c1"],
        ["scan-a", "scan-b"],
        ["ct_01", "ct_02"],
        ["LIDC-IDRI-0001", "LIDC-IDRI-0002"],
        [f"BRATS_2019_{n:02d}" for n in range(30)],
        ["hospA_scan1", "hospA_scan2", "hospB_scan1"],
        ["1.3.6.1.4.1", "1.3.6.1.4.2"],
    ],
)
def test_numbers_of_cases_are_no_time_points(names):
    assert assumed_patients(names) == names


def test_cases_that_are_joined_have_the_name_of_the_first_and_letter_case_does_not_tell_patients_apart():
    assert join_patients(["a", "b", "c", "d"], [(1, 3), (2, 3)]) == ["a", "b", "b", "b"]
    assert join_patients(["P1", "p1", "P2"], []) == ["P1", "P1", "P2"]
