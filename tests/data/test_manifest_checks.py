"""What a manifest must hold, and that everything else is refused with the case and the field."""

import json

import pytest

from lungseg3d.core import LungSegError
from lungseg3d.data import load_datalist, read_manifest

CASE = {"case_id": "a", "patient": "p", "fold": 0, "files": {"image": "a.nii"}}


@pytest.fixture
def refused(tmp_path):
    """`refused(content, **options)` -> the text of the refusal of a manifest, given as text or as content."""

    def refuse(content: object, **options) -> str:
        path = tmp_path / "m.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        with pytest.raises(LungSegError) as caught:
            load_datalist(path, tmp_path, **options)
        assert caught.value.remedy
        assert len(str(caught.value).splitlines()) <= 3
        return str(caught.value)

    return refuse


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe{}", b"[" * 50_000, b'{"cases": ' + b"9" * 5000 + b"}"],
    ids=["empty", "cut", "not UTF-8", "nested 50 000 deep", "a number of 5000 digits"],
)
def test_what_is_no_json_is_refused(refused, text):
    assert "not JSON" in refused(text)


@pytest.mark.parametrize("content", [[], 1, None, "cases", {"cases": "abc"}, {"cases": {"a": 1}}, {"cases": [1]}])
def test_json_of_another_form_is_refused(refused, content):
    assert "E_MANIFEST" in refused(content)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("case_id", None), ("case_id", 7), ("case_id", ""), ("patient", []), ("fold", "0"), ("fold", True),
        ("files", {"image": "/etc/passwd"}), ("files", {"image": "a/../../b.nii"}), ("files", {"label": "..\\b.nii"}),
        ("files", {"image": "C:\\b.nii"}), ("files", {"image": "\\\\server\\b.nii"}), ("files", {"image": ".."}),
        ("facts", 1), ("files", None), ("files", ["a.nii"]), ("files", {"image": None}), ("files", {"image": "a\0b"}),
    ],
)  # fmt: skip
def test_a_field_of_the_wrong_type_is_named_with_its_case(refused, field, value):
    text = refused({"cases": [CASE, {**CASE, field: value}]})
    assert "case 2" in text
    assert field in text


def test_names_that_only_look_like_ways_out_are_names(tmp_path):
    (tmp_path / "..a").mkdir()
    (tmp_path / "..a" / "b..nii").write_bytes(b"")
    case = {**CASE, "files": {"image": "..a/b..nii"}}
    (tmp_path / "m.json").write_text(json.dumps({"cases": [case]}))
    assert load_datalist(tmp_path / "m.json", tmp_path)[0]["image"] == str(tmp_path / "..a" / "b..nii")


def test_folds_without_patients_are_refused_because_they_could_leak(refused):
    case = {key: value for key, value in CASE.items() if key != "patient"}
    assert "patient" in refused({"cases": [case]}, fold=0)


@pytest.mark.parametrize("name", ["missing.nii", "x" * 5000, "a\nb\nc\nd"])
def test_a_file_that_is_not_there_is_named_in_one_line(refused, name):
    assert "E_MISSING_DATA" in refused({"cases": [{**CASE, "files": {"image": name}}]})


def test_a_byte_order_mark_is_no_reason_to_refuse(tmp_path):
    (tmp_path / "m.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"cases": [CASE]}).encode())
    assert read_manifest(tmp_path / "m.json")["cases"] == [CASE]
