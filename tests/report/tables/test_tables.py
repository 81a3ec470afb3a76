"""CSV and JSON of a case: columns, digits and order written down by hand."""

import csv
import io
import json
import math

import numpy as np

from lungseg3d.core import CaseResult, Lung, QualityIssue
from lungseg3d.report import nodules_csv, result_json
from tests.support.nodule_records import changed, flat_nodule

NODULE = flat_nodule(
    id=1,
    volume_mm3=523.5987,
    equivalent_diameter_mm=10.0,
    long_axis_mm=10.25,
    perpendicular_mm=9.8,
    mean_hu=-12.34,
    sd_hu=20.0,
    solid_fraction=0.98765,
    kind="solid",
    centroid_ras_mm=(-50.0, 20.0, 1.5),
    centroid_lps_mm=(50.0, -20.0, 1.5),
    centroid_voxel=(100.0, 120.5, 33.25),
    side="left",
    pleura_distance_mm=None,
    confidence=0.91,
    volume_low_mm3=400.0,
    volume_high_mm3=680.0,
    mean_diameter_mm=10.02,
    third="upper",
    vessel_distance_mm=3.2,
    lung_rads_by_diameter="4A",
    lung_rads_by_volume="4A",
    fleischner_by_diameter="solid, >8 mm",
    fleischner_by_volume="solid, >250 mm3",
)


def test_a_nodule_is_one_csv_row_with_fixed_digits():
    text = nodules_csv(CaseResult("a", "done", nodules=(changed(NODULE, calibrated_confidence=0.45),)))
    header, row = list(csv.DictReader(io.StringIO(text))), text.splitlines()[1]
    assert row == (
        "1,523.60,10.00,10.25,9.80,-12.3,20.0,0.988,solid,left,,0.910,"
        "-50.00,20.00,1.50,50.00,-20.00,1.50,100.00,120.50,33.25,"
        '400.00,680.00,10.02,,,,upper,3.20,4A,4A,"solid, >8 mm","solid, >250 mm3",0.450,,,voxels,'
    )
    assert header[0]["centroid_lps_y_mm"] == "-20.00"
    assert header[0]["centroid_voxel_z"] == "33.25"
    assert header[0]["pleura_distance_mm"] == ""


def test_no_nodules_leave_the_csv_header_alone():
    text = nodules_csv(CaseResult("a", "done"))
    assert text.startswith("id,volume_mm3,equivalent_diameter_mm,long_axis_mm,perpendicular_mm,mean_hu,sd_hu,")
    assert text.count("\n") == 1
    assert "\r" not in text


def test_csv_writes_no_nan_and_no_negative_zero():
    odd = changed(NODULE, mean_hu=math.nan, centroid_ras_mm=(-0.001, 0.0, 0.0), confidence=np.float32(math.nan))
    cells = nodules_csv(CaseResult("a", "done", nodules=(odd,))).splitlines()[1].split(",")
    assert cells[5] == ""
    assert cells[11] == ""
    assert cells[12] == "0.00"


def test_json_tells_its_schema_first_and_writes_null_for_what_is_not_finite():
    result = CaseResult(
        "a",
        "done",
        grid={"spacing_mm": np.array([1.0, math.nan, 2.5])},
        nodules=(changed(NODULE, sd_hu=math.inf),),
        issues=(QualityIssue("W_THICK", "slices of 5 mm"),),
        timings_s={"read": 1.5, "lungs": math.nan},
    )
    text = result_json(result)
    record = json.loads(text)
    assert next(iter(record)) == "schema_version"
    assert record["grid"]["spacing_mm"] == [1.0, None, 2.5]
    assert record["nodules"][0]["sd_hu"] is None
    assert record["issues"][0]["severity"] == "warning"
    assert record["timings_s"] == {"read": 1.5, "lungs": None}
    assert "NaN" not in text
    assert "Infinity" not in text


def test_json_does_not_depend_on_the_order_in_which_facts_were_gathered():
    first = CaseResult("a", "done", lungs=(Lung("right_lung", 1.0),), provenance={"b": {"y": 1, "x": 2}, "a": 0})
    second = CaseResult("a", "done", lungs=(Lung("right_lung", 1.0),), provenance={"a": 0, "b": {"x": 2, "y": 1}})
    assert result_json(first) == result_json(second)


def test_json_keeps_the_order_of_the_steps():
    text = result_json(CaseResult("a", "done", timings_s={"read": 1.0, "lungs": 2.0, "analyse": 3.0}))
    assert list(json.loads(text)["timings_s"]) == ["read", "lungs", "analyse"]
