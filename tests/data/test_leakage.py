"""A case that the weights were trained on is found again, whatever its dataset is called now."""

import json

import pytest

from lungseg3d.core import LungSegError
from lungseg3d.data import (
    read_manifest,
    read_training_record,
    trained_on,
    trained_on_issue,
    training_record,
    training_text,
)
from lungseg3d.io import shipped_bundle


def case(name: str, **more) -> dict:
    return {"case_id": name, "patient": f"patient of {name}", "sha256": {"image": f"sum of {name}"}, **more}


@pytest.fixture
def record():
    manifest = {"name": "lidc", "source": "LIDC-IDRI", "licence": "CC BY 3.0"}
    return training_record([(manifest, [case("a", facts={"series_uid": "1.2.3"}), case("b")])])


def test_cases_of_other_people_are_not_seen(record):
    assert trained_on(record, [case("c"), case("d")], "lidc") == []
    assert trained_on_issue([], 2) is None


@pytest.mark.parametrize(
    ("changed", "dataset", "by"),
    [
        ({"sha256": {"image": "other"}}, "lidc", "patient"),
        ({"patient": "x"}, "other", "image"),
        ({"patient": "x", "sha256": {}, "facts": {"series_uid": "1.2.3"}}, "luna16", "series"),
    ],
)
def test_a_seen_case_is_found_by_patient_image_or_series(record, changed, dataset, by):
    (seen,) = trained_on(record, [{**case("a"), **changed}], dataset)
    assert (seen.case_id, seen.by, seen.trained_as) == ("a", by, "a")


def test_a_patient_of_the_same_name_in_another_dataset_is_somebody_else(record):
    stranger = {"case_id": "a", "patient": "patient of a", "sha256": {"image": "other"}}
    assert trained_on(record, [stranger], "other") == []


def test_the_warning_names_the_cases_and_the_way_out(record):
    issue = trained_on_issue(trained_on(record, [case("a"), case("c"), case("b")], "lidc"), measured=3)
    assert issue.code == "W_TRAINED_ON"
    assert "2 of the 3 cases: a (same image), b (same image)" in issue.message
    assert issue.remedy


def test_many_seen_cases_are_counted_rather_than_named():
    cases = [case(str(n)) for n in range(8)]
    issue = trained_on_issue(trained_on(training_record([({"name": "x"}, cases)]), cases, "x"), 8)
    assert "and 3 more" in issue.message


@pytest.mark.parametrize("place", ["configs/training_cases.json", "configs/metadata.json"])
def test_a_bundle_keeps_the_record_in_a_file_of_its_own_or_in_its_metadata(record, tmp_path, place):
    (tmp_path / "configs").mkdir()
    text = json.dumps({"version": "1", "training_data": record}) if "metadata" in place else training_text(record)
    (tmp_path / place).write_text(text)
    assert [seen.case_id for seen in trained_on(tmp_path, [case("b"), case("c")], "lidc")] == ["b"]
    assert read_training_record(tmp_path / place) == record


def test_a_bundle_that_does_not_say_has_no_record(tmp_path):
    assert read_training_record(tmp_path) is None
    assert trained_on(tmp_path, [case("a")], "lidc") == []


@pytest.mark.parametrize("text", ["{", "[]", '{"datasets": 1}', '{"datasets": [{"cases": [{"patient": 7}]}]}', "null1"])
def test_a_broken_record_is_refused_rather_than_taken_for_none(tmp_path, text):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "training_cases.json").write_text(text)
    with pytest.raises(LungSegError, match="E_TRAINING_RECORD"):
        trained_on(tmp_path, [case("a")], "lidc")


@pytest.mark.parametrize("who_says", ["record", "case"])
def test_a_patient_that_another_dataset_calls_otherwise_is_the_same_person(who_says):
    """Either side may know the other's name; a name in a third data set links them, too."""
    old, new = {"case_id": "x", "patient": "crop-7"}, {"case_id": "y", "patient": "P-0007"}
    if who_says == "record":
        old["known_as"] = {"new": "P-0007"}
    else:
        new["known_as"] = {"old": "crop-7", "elsewhere": "7"}
    (seen,) = trained_on(training_record([({"name": "old"}, [old])]), [new], "new")
    assert (seen.case_id, seen.by, seen.trained_as) == ("y", "patient", "x")
    assert (
        trained_on(training_record([({"name": "old"}, [old])]), [{**new, "patient": "P-0008", "known_as": {}}], "new")
        == []
    )


def test_the_shipped_weights_know_their_patients_in_every_set_that_has_them():
    """What finds has seen 107 nodules, 84 of which are in `nodules_luna`; what outlines all of that but fold 0."""
    bundle = shipped_bundle("lung_nodule_ct_segmentation")
    old, new = read_manifest("nodules_lidc"), read_manifest("nodules_luna")
    assert len(trained_on(bundle, old["cases"], old["name"])) == 107
    seen = {found.case_id: found.trained_as for found in trained_on(bundle, new["cases"], new["name"])}
    in_both = {case["patient"] for case in new["cases"] if "nodules_lidc" in case["known_as"]}
    known = [case for case in new["cases"] if case["fold"] != 0 or case["patient"] in in_both]
    assert {case["case_id"] for case in known} == set(seen)
    assert (len(in_both), len(seen)) == (84, 790)
    lidc = [{"case_id": "a", "patient": "LIDC-IDRI-0005"}, {"case_id": "b", "patient": "LIDC-IDRI-0002"}]
    assert [found.case_id for found in trained_on(bundle, lidc, "lidc")] == ["a"]


def test_weights_of_the_new_set_know_their_patients_in_the_old_one():
    old, new = read_manifest("nodules_lidc"), read_manifest("nodules_luna")
    record = training_record([(new, new["cases"])])
    assert len(trained_on(record, old["cases"], old["name"])) == 84
    assert len(trained_on(record, [{"case_id": "a", "patient": "LIDC-IDRI-0005"}], "lidc")) == 1
    assert trained_on(record, [{"case_id": "a", "patient": "LIDC-IDRI-0002"}], "lidc") == []


def test_the_new_set_keeps_patients_in_one_fold():
    cases = read_manifest("nodules_luna")["cases"]
    folds = {case["patient"]: case["fold"] for case in cases}
    assert (len(cases), len(folds), set(folds.values())) == (930, 479, {0, 1, 2, 3, 4})
    assert all(folds[case["patient"]] == case["fold"] for case in cases)
    assert sum("others" in case["files"] for case in cases) == 175
    assert all(case["files"].get("others") == case["files"].get("ignore") for case in cases)
    assert sum(case["facts"]["texture"] < 4 for case in cases) == 102  # a mean below 3.5
