"""What of a case holds its listed nodules alone, and what shows the candidates, too."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pydicom

from lungseg3d.analysis import measure_lungs, measure_nodules
from lungseg3d.core import CaseResult
from lungseg3d.io import CaseFolder, find_source_series, open_ct, read_labels, write_volume
from lungseg3d.report import nodules_csv, result_json
from lungseg3d.workflows.listing.settings import Settings
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases
from lungseg3d.workflows.segment.formats import make_objects, write_objects
from tests.io.dicom_objects.test_dicom_objects import masks_of, straight
from tests.support.nodule_records import changed
from tests.support.seg_reading import read_masks, read_measurements


def listed_case(ct, masks) -> CaseResult:
    """Nodule 1 is the surer and smaller one; a third finding, marked in no mask here, is a candidate."""
    measured = sorted(measure_nodules(ct, masks.nodules, lungs=masks.labels), key=lambda nodule: nodule.id)
    nodules = [changed(n, calibrated_confidence=0.9 - 0.2 * n.id) for n in measured]
    hilum = changed(measured[0], id=3, volume_mm3=9000.0, calibrated_confidence=0.1, reason="hilar-vessel")
    point = {"name": "default", "least_confidence": {"solid": 0.3}}
    found = {"nodules": tuple(nodules), "candidates": (hilum,), "operating_point": point}
    return CaseResult("a", "done", lungs=tuple(measure_lungs(masks.labels)), **found)


def test_seg_and_sr_hold_the_listed_nodules_in_the_order_of_the_list_and_no_candidate(tmp_path):
    source = straight(tmp_path / "ct")
    ct = open_ct(source).volume
    masks = masks_of(ct)
    result = listed_case(ct, masks)
    made = make_objects(result, masks.labels, masks.nodules, find_source_series(source), ("seg", "sr"))
    assert not made.issues
    write_objects(tmp_path, made.files)
    names = ["Right lung", "Left lung", "Nodule 1", "Nodule 2"]
    segments = pydicom.dcmread(tmp_path / CaseFolder.SEG).SegmentSequence
    assert [(s.SegmentNumber, s.SegmentLabel) for s in segments] == list(enumerate(names, start=1))
    groups = read_measurements(tmp_path / CaseFolder.SR)
    by_name = {group["id"]: group for group in groups.values()}
    assert list(by_name) == names
    for nodule in result.nodules:
        assert by_name[f"Nodule {nodule.id}"]["calibrated", ""] == (nodule.certainty.calibrated_confidence, "UCUM:1")
    found = read_masks(tmp_path / CaseFolder.SEG, ct.affine, ct.shape)
    assert sum(mask.sum() for mask in found.values()) == np.count_nonzero(masks.labels.array)


def test_the_csv_holds_the_listed_nodules_in_the_order_of_the_record_and_the_json_both(tmp_path):
    ct = open_ct(straight(tmp_path / "ct")).volume
    result = listed_case(ct, masks_of(ct))
    result = replace(result, nodules=result.nodules[::-1])
    rows = list(csv.DictReader(io.StringIO(nodules_csv(result))))
    assert [row["id"] for row in rows] == ["2", "1"]
    record = json.loads(result_json(result))
    assert record["schema_version"] == 2
    assert [finding["id"] for finding in record["candidates"]] == [3]
    assert record["candidates"][0]["reason"] == "hilar-vessel"


def test_a_finding_below_the_cut_is_no_nodule_anywhere_and_a_folded_picture_on_the_report(chest, bundles, tmp_path):
    write_volume(tmp_path / "chest.nii.gz", chest.ct)
    how = {"device": "cpu", "precision": "fp32", "backend": "torch", "settings": Settings(least_confidence=1.0)}
    options = SegmentOptions(**how, lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)
    (result,) = segment_cases([tmp_path / "chest.nii.gz"], tmp_path / "out", options)
    assert (len(result.nodules), [finding.reason for finding in result.candidates]) == (0, ["below-point"])
    assert result.status == "done", result.issues
    folder = tmp_path / "out" / result.case_id
    assert not read_labels(folder / "nodules.nii.gz").array.any()
    assert not (read_labels(folder / "labels.nii.gz").array == 3).any()
    assert set(np.unique(read_labels(folder / "candidates.nii.gz").array)) == {0, 1}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "No nodule of the confidence that was asked for." in page
    assert '<figure id="candidate-1">' in page
