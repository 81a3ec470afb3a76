"""A case that the weights were trained on is found again, whatever its dataset is called now."""

import json

import pytest

from lungseg3d.core import LungSegError
from lungseg3d.data import read_training_record, trained_on, trained_on_issue, training_record, training_text


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
