"""`follow-up` of CTs that are no pair: other persons, the same CT twice, parts of lungs, dates that disagree."""

from __future__ import annotations

import json
import logging
import re

import numpy as np
import pydicom
import pytest
import SimpleITK
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import Box, CaseResult, Change, UsageError, Volume
from lungseg3d.io import PersonComparison, SeriesSpec, TimeBetween, open_ct, write_dicom_series, write_volume
from lungseg3d.workflows.export import export
from lungseg3d.workflows.follow_up.inputs import Examination
from lungseg3d.workflows.follow_up.issues import issues_of, time_issues
from lungseg3d.workflows.follow_up.run import SR_FILE, FollowUpOptions, follow_up
from tests.support.follow_up_cases import GOOD_FIT, chest_with, record_of, shifted_by, write_result
from tests.support.tables import read_table

BALLS = [((70, 20, 30), 20.0), ((-60, 10, 40), 16.0), ((60, -20, -40), 18.0)]
PERSONS = {
    "prior": {"PatientID": "PID-7730911", "PatientSex": "M", "PatientBirthDate": "19540317"},
    "current": {"PatientID": "QX-0005512", "PatientSex": "F", "PatientBirthDate": "19610924"},
}
SECRETS = ("7730911", "5512", "19540317", "19610924", "1954", "1961", "03-17", "09-24")
# DICOM tags and hexadecimal checksums hold digits of their own.
_DIGITS_OF_OTHERS = re.compile(rb"[0-9a-f]{16,}|data:image/jpeg;base64,[A-Za-z0-9+/=]+|-?\d+\.\d+")


def series(folder, name, balls=BALLS, seed=1, person=None, **dates):
    """A DICOM series of a chest and its results with a SEG; returns both folders."""
    ct, *maps = chest_with(balls)
    noisy = ct.with_array((ct.array + np.random.default_rng(seed).integers(-9, 9, ct.shape)).astype(np.int16))
    write_dicom_series(folder / f"{name}-ct", noisy, spec=SeriesSpec(seed=name))
    for path in (folder / f"{name}-ct").iterdir():
        dataset = pydicom.dcmread(path)
        with pydicom.config.disable_value_validation():
            for keyword, value in {**(person or {}), "AcquisitionDate": "", "SeriesDate": "", **dates}.items():
                setattr(dataset, keyword, value)
            dataset.save_as(path)
    read = open_ct(folder / f"{name}-ct")
    # The file runs to the left and back, where the chest goes to the right and front.
    made = write_result(folder / name, read.volume, *(read.volume.with_array(m.array[::-1, ::-1]) for m in maps))
    record = json.loads((made / "result.json").read_text())
    record["source"] = read.source
    (made / "result.json").write_text(json.dumps(record))
    export(made, folder / f"{name}-ct", "seg")
    return made, folder / f"{name}-ct"


def codes_of(result) -> set[str]:
    return {issue.code for issue in result.issues}


def found_in(data: bytes) -> list[str]:
    plain = _DIGITS_OF_OTHERS.sub(b"", data)
    return [secret for secret in SECRETS if secret.encode() in plain]


def test_two_persons_are_named_in_every_output_and_nothing_of_them_is(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    (prior, prior_ct), (current, current_ct) = (
        series(tmp_path, name, seed=i, person=PERSONS[name], StudyDate="2024.01.01" if i else "20230101")
        for i, name in enumerate(PERSONS)
    )
    words = ["follow-up", prior, current, "--prior-ct", prior_ct, "--current-ct", current_ct, "--sr"]
    done = CliRunner().invoke(app, [str(word) for word in [*words, "--out", tmp_path / "out"]], prog_name="lungseg3d")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "follow_up.json").read_text())
    assert record["person"] == {"patient_id": "different", "sex": "different", "birth_date": "different"}
    (message,) = [i["message"] for i in record["issues"] if i["code"] == "W_OTHER_PATIENT"]
    assert "PatientID, sex and birth date" in message
    headline = "The two CTs may be of different patients."
    report = pydicom.dcmread(tmp_path / "out" / SR_FILE)
    comments = [str(item.get("TextValue", "")) for item in report.ContentSequence]
    page = (tmp_path / "out" / "follow_up.html").read_text(encoding="utf-8")
    for text in (done.output, page, *[c for c in comments if "Research use" in c]):
        assert headline in " ".join(text.split())
        assert "W_OTHER_PATIENT" in text
    texts = [done.output.replace(str(tmp_path), ""), *(record.getMessage() for record in caplog.records)]
    files = [path for path in (tmp_path / "out").iterdir() if path.name != SR_FILE]
    assert len(files) == 3
    written = [*map(str.encode, texts), *(path.read_bytes() for path in files)]
    assert [secret for data in written for secret in found_in(data)] == []
    assert (record["days"], report.StudyDate) == (365, "20240101")
    assert report.PatientID == PERSONS["current"]["PatientID"]  # an SR names its own patient, and no other
    assert b"7730911" not in (tmp_path / "out" / SR_FILE).read_bytes()


def test_the_secrets_would_be_found():
    assert found_in(b"born 1954-03-17, PID-7730911, 0.1954 mm") == ["7730911", "1954", "03-17"]


def test_results_without_their_cts_are_compared_by_the_persons_of_their_segs_and_by_study_dates(tmp_path):
    folders = [
        series(tmp_path, name, seed=i, person=PERSONS[name], StudyDate=f"202{i + 3}0101")[0]
        for i, name in enumerate(PERSONS)
    ]
    result = follow_up(*folders, tmp_path / "out")
    assert {"W_OTHER_PATIENT", "W_MASKS_ALONE"} <= codes_of(result)
    assert (result.days, result.days_from) == (365, "DICOM")


def test_vessels_of_another_person_end_in_not_determined_everywhere(tmp_path):
    ct, *maps = chest_with(BALLS)
    other = ct.with_array(np.where(maps[0].array == 3, ct.array, ct.array[:, ::-1, ::-1]).astype(np.int16))
    folders = write_result(tmp_path / "prior", ct, *maps), write_result(tmp_path / "current", other, *maps)
    cts = (tmp_path / "prior-ct.nii.gz", tmp_path / "current-ct.nii.gz")
    result = follow_up(*folders, tmp_path / "out", FollowUpOptions(180, *cts))
    assert "W_POOR_REGISTRATION" in codes_of(result)
    assert [change.change for change in result.changes] == [Change.NOT_DETERMINED] * 6
    rows = read_table(tmp_path / "out" / "follow_up.csv")
    assert {row["change"] for row in rows} == {"not-determined"}
    assert {row["volume_change_percent"] for row in rows} == {""}
    page = (tmp_path / "out" / "follow_up.html").read_text(encoding="utf-8")
    head, _, rest = page.partition('<nav aria-label="Sections">')
    assert "No change was determined" in head
    assert "6 not determined." in head
    assert rest.count("Its place is not known here") + rest.count("its place is not known here") == 6
    assert not re.search(r'class="word (new|gone|grown|shrunk|stable)"', page)


@pytest.mark.parametrize("ending", ["nii.gz", pytest.param("nrrd", marks=pytest.mark.slow)])
def test_the_same_ct_under_another_name_and_in_another_format_is_named(tmp_path, ending):
    ct, *maps = chest_with(BALLS[:2])
    turned = Volume(ct.array[::-1].copy(), ct.affine @ [[-1, 0, 0, ct.shape[0] - 1], *np.eye(4)[1:]])
    write_volume(tmp_path / "turned.nii.gz", turned)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / "turned.nii.gz")), str(tmp_path / f"other.{ending}"))
    folder = write_result(tmp_path / "a", ct, *maps)
    again = write_result(tmp_path / "b", turned, *(turned.with_array(m.array[::-1].copy()) for m in maps))
    options = FollowUpOptions(180, tmp_path / "a-ct.nii.gz", tmp_path / f"other.{ending}")
    result = follow_up(folder, again, tmp_path / "out", options)
    assert "W_SAME_SERIES" in codes_of(result)
    assert result.headlines == ("Prior and current are the same CT: this is no follow-up.",)
    assert "this is no follow-up" in (tmp_path / "out" / "follow_up.html").read_text(encoding="utf-8")


def examination(balls=BALLS, with_ct=True, **source) -> Examination:
    ct, *maps = chest_with(balls)
    return Examination(record_of("a", ct, *maps, **source), *maps, ct if with_ct else None)


def test_the_same_masks_or_the_same_series_are_one_ct_and_others_are_not():
    fit, nobody = shifted_by(0, 0, 0), PersonComparison()

    def codes(*times):
        return {issue.code for issue in issues_of(*times, fit, nobody)}

    bare = examination(with_ct=False)
    assert "W_SAME_SERIES" in codes(bare, examination(with_ct=False))
    assert "W_SAME_SERIES" not in codes(bare, examination(BALLS[:2], with_ct=False))
    assert "W_SAME_SERIES" not in codes(bare, examination(BALLS[:2]))
    assert "W_SAME_SERIES" in codes(*(examination(b, False, series_sha256="ab") for b in (BALLS, BALLS[:1])))
    assert "W_SAME_SERIES" not in codes(examination(), examination(BALLS[:2]))


def test_lungs_that_one_ct_does_not_cover_are_said_in_shares():
    bare = examination(with_ct=False)
    half = shifted_by(0, 0, 0, fit=type(GOOD_FIT)(0.97, (0.48, 1.0), 2000.0, 0.9))
    (issue,) = [i for i in issues_of(bare, bare, half, PersonComparison()) if i.code == "W_PARTIAL_COVERAGE"]
    assert issue.message == "the current CT covers 48 % of the lungs in the prior CT."


def test_another_number_alone_is_said_to_be_no_proof_of_another_person():
    bare, fit = examination(with_ct=False), shifted_by(0, 0, 0)

    def message(**verdicts):
        found = issues_of(bare, bare, fit, PersonComparison(**verdicts))
        return " ".join(i.message for i in found if i.code == "W_OTHER_PATIENT")

    assert "one person under two numbers" in message(patient_id="different", sex="same")
    assert "differ in sex and birth date" in message(sex="different", birth_date="different")
    assert message(patient_id="same", sex="not compared") == message() == ""


@pytest.mark.parametrize(
    ("given", "by_dates", "codes", "words"),
    [
        (180, TimeBetween(180), [], ""),
        (180, TimeBetween(181), [], ""),
        (180, TimeBetween(None, "no date."), [], ""),
        (None, TimeBetween(365), [], ""),
        (None, TimeBetween(None, "the prior CT has no date."), ["W_NO_DAYS"], "the prior CT has no date."),
        (180, TimeBetween(365), ["W_OTHER_DAYS"], "--days says 180 days, the DICOM dates say 365"),
        (180, TimeBetween(-180), ["W_OTHER_DAYS", "W_CURRENT_FIRST"], "taken 180 days before the prior"),
        (None, TimeBetween(-30), ["W_CURRENT_FIRST"], "taken 30 days before the prior"),
        (-30, TimeBetween(None), ["W_CURRENT_FIRST"], "taken 30 days before the prior"),
        (None, TimeBetween(0), ["W_CURRENT_FIRST"], "of one day"),
        (None, TimeBetween(30, "", "the DICOM dates disagree."), ["W_OTHER_DAYS"], "disagree"),
    ],
)
def test_days_are_held_against_the_dates(given, by_dates, codes, words):
    issues = time_issues(given, by_dates)
    assert [issue.code for issue in issues] == codes
    assert words in " ".join(issue.message for issue in issues)


def test_days_that_are_no_number_are_refused(tmp_path):
    with pytest.raises(UsageError, match="E_BAD_OPTION"):
        follow_up(tmp_path, tmp_path, tmp_path / "out", FollowUpOptions(float("nan")))


def test_what_half_a_ct_does_not_show_is_neither_gone_nor_new_and_the_page_does_not_draw_it(tmp_path):
    whole, *maps = chest_with(BALLS)
    upper = Box((0, 0, 32), whole.shape)
    noisy = whole.with_array((whole.array + np.random.default_rng(1).integers(-9, 9, whole.shape)).astype(np.int16))
    kept = [m.crop(upper) for m in maps]
    folders = write_result(tmp_path / "whole", whole, *maps), write_result(tmp_path / "half", noisy.crop(upper), *kept)
    options = FollowUpOptions(180, tmp_path / "whole-ct.nii.gz", tmp_path / "half-ct.nii.gz")
    result = follow_up(*folders, tmp_path / "out", options)
    said = [(change.change, change.reason) for change in result.changes]
    assert said.count((Change.STABLE, "")) == 2
    assert (Change.NOT_COVERED, "not covered: the current CT does not show its place") in said
    assert len(said) == 3
    assert {"W_PARTIAL_COVERAGE"} == codes_of(result) - {"W_OTHER_NOISE"}
    page = (tmp_path / "out" / "follow_up.html").read_text(encoding="utf-8")
    assert page.count("This CT does not show its place.") == 1
    assert "Volumes of what each CT covers" in page
    assert page.count("plane, 45 mm wide.") == 5 * 3


def test_one_path_given_twice_is_segmented_once(tmp_path, monkeypatch):
    from lungseg3d.workflows.segment import cases as segment

    ct, *maps = chest_with(BALLS[:1])
    write_volume(tmp_path / "ct.nii.gz", ct)
    given = []

    def segment_cases(inputs, out, *_):
        given.extend(inputs)
        write_result(out / "ct", ct, *maps)
        return [CaseResult("ct", "done")]

    monkeypatch.setattr(segment, "segment_cases", segment_cases)
    result = follow_up(tmp_path / "ct.nii.gz", tmp_path / "." / "ct.nii.gz", tmp_path / "out", FollowUpOptions(1))
    assert len(given) == 1
    assert "W_SAME_SERIES" in codes_of(result)
