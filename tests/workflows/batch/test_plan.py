"""What a batch is about: trees, manifests, CSVs; names and keys that stay; what its results depend on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lungseg3d.cli import app
from lungseg3d.cli.terminal.batch_progress import batch_progress, duration_text
from lungseg3d.core import LungSegError, UsageError
from lungseg3d.io import ReadOptions
from lungseg3d.workflows.batch.plan import Selection, plan_batch
from lungseg3d.workflows.batch_state.case import Outcome
from lungseg3d.workflows.batch_state.identity import fact_differences, identity_of
from lungseg3d.workflows.batch_state.records import BatchState
from lungseg3d.workflows.listing.settings import Settings
from lungseg3d.workflows.segment.options import SegmentOptions


def plan_of(source: Path, known=None, **more):
    return plan_batch(Selection(str(source), **more), leave_out=source / "none").name_cases(known or {})


def ids(plan) -> list[str]:
    return [case.case_id for case in plan.cases]


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_new_input_takes_no_name_from_an_old_one(tmp_path):
    before = plan_of(tree(tmp_path, "b/scan-x.nii.gz", "c/scan-x.nii.gz"))
    assert ids(before) == ["scan-x", "scan-x-2"]
    known = {case.key: case.case_id for case in before.cases}
    after = plan_of(tree(tmp_path, "a/scan-x.nii.gz"), known)
    assert ids(after) == ["scan-x-3", "scan-x", "scan-x-2"]
    assert {case.key for case in before.cases} < {case.key for case in after.cases}


def test_keys_do_not_change_when_the_tree_moves_and_hold_no_path(tmp_path):
    tree(tmp_path / "here", "DOE/scan-x.nii.gz")
    before = plan_of(tmp_path / "here").cases[0].key
    (tmp_path / "here").rename(tmp_path / "there")
    assert plan_of(tmp_path / "there").cases[0].key == before
    assert "DOE" not in before


def test_no_case_is_named_like_a_file_of_the_batch(tmp_path):
    assert ids(plan_of(tree(tmp_path, "index.html.nii.gz", "summary.csv.nii"))) == ["index.html-2", "summary.csv-2"]


def test_a_manifest_names_its_cases_and_a_missing_file_is_a_case_of_its_own(tmp_path):
    cases = [{"case_id": name, "files": {"image": f"images/{name}.nii.gz"}} for name in ("b", "a")]
    (tmp_path / "m.json").write_text(json.dumps({"name": "m", "cases": cases}))
    plan = plan_of(tmp_path / "m.json")
    assert ids(plan) == ["b", "a"]
    assert [case.source.path for case in plan.cases] == [tmp_path / "images" / f"{name}.nii.gz" for name in ("b", "a")]
    assert plan_of(tmp_path / "m.json", data=Path("/data")).cases[0].source.path == Path("/data/images/b.nii.gz")


@pytest.mark.parametrize(
    ("names", "code"),
    [(["a", "A"], "E_DUPLICATE_CASE"), (["../a"], "E_MANIFEST"), (["index.html"], "E_DUPLICATE_CASE")],
)
def test_names_that_clash_or_lead_elsewhere_stop_the_batch(tmp_path, names, code):
    cases = [{"case_id": name, "files": {"image": "x"}} for name in names]
    (tmp_path / "m.json").write_text(json.dumps({"name": "m", "cases": cases}))
    with pytest.raises(LungSegError, match=code):
        plan_of(tmp_path / "m.json")


def test_a_name_that_the_journal_knows_for_another_input_stops_the_batch(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps({"name": "m", "cases": [{"case_id": "a", "files": {"image": "x"}}]}))
    with pytest.raises(LungSegError, match=r"E_DUPLICATE_CASE"):
        plan_of(tmp_path / "m.json", known={"another key": "a"})


def test_a_csv_has_a_column_image_and_perhaps_names_studies_and_series(tmp_path):
    (tmp_path / "list.csv").write_text("image,case_id,series\nx/ct.nii.gz,first,\ny,,1.2.3\n", encoding="utf-8-sig")
    first, second = plan_of(tmp_path / "list.csv").cases
    assert (first.case_id, first.source.path) == ("first", tmp_path / "x" / "ct.nii.gz")
    assert (second.case_id, second.source.series) == ("y", "1.2.3")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("name\nx\n", "E_BAD_CSV"),
        ("image\n", "E_BAD_CSV"),
        ("image,case_id\n,a\n", "E_BAD_CSV"),
        ("image\nx\nx\n", "E_DUPLICATE_CASE"),
        ("image,case_id\nx,a\ny,a\n", "E_DUPLICATE_CASE"),
        ('image\n"x\n', "E_BAD_CSV"),
    ],
)
def test_a_csv_that_cannot_be_meant_stops_the_batch(tmp_path, text, code):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(LungSegError, match=code):
        plan_of(tmp_path / "list.csv")


def test_a_source_that_is_not_there_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="E_NO_SOURCE"):
        plan_of(tmp_path / "nowhere")


def test_list_prints_names_and_inputs_and_writes_nothing(tmp_path):
    tree(tmp_path / "in", "p1/scan-x.nii.gz", "p2/scan-x.nii.gz")
    shown = CliRunner().invoke(app, ["batch", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--list"])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines() == ["scan-x\tp1/scan-x.nii.gz", "scan-x-2\tp2/scan-x.nii.gz"]
    assert not (tmp_path / "out").exists()


def test_source_and_out_or_verify_are_needed():
    assert CliRunner().invoke(app, ["batch"]).exit_code == 2
    assert CliRunner().invoke(app, ["batch", ".", "--out", "o", "--engine", "magic"]).exit_code == 2


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    """Bundle folders with weights of four bytes."""
    roots = {}
    for role in ("lung_bundle", "nodule_bundle"):
        root = roots[role] = tmp_path_factory.mktemp(role)
        tree(root, "configs/inference.json", "configs/metadata.json", "models/model.pt")
        (root / "models" / "model.pt").write_text(role)
    return roots


def test_results_depend_on_weights_configuration_options_and_threads_and_not_on_where_files_go(bundles, tmp_path):
    asked = SegmentOptions(**bundles)
    first = identity_of(asked, 1)
    assert identity_of(replace(asked, overwrite=True, write_timings=False), 1).sha256 == first.sha256
    others = [
        replace(asked, roi="full"),
        replace(asked, precision="bf16"),
        replace(asked, read=ReadOptions(strict=True)),
    ]
    sums = {identity_of(other, 1).sha256 for other in others} | {identity_of(asked, 2).sha256, first.sha256}
    assert len(sums) == 5
    assert str(bundles["lung_bundle"]) not in json.dumps(first.facts)
    (bundles["lung_bundle"] / "models" / "model.pt").write_text("other")
    other = identity_of(asked, 1)
    assert fact_differences(first.facts, other.facts).startswith("bundles: lung_bundle: models/model.pt ")
    (tmp_path / "sums").write_text("")
    listed = identity_of(replace(asked, read=ReadOptions(verify_manifest=tmp_path / "sums")), 1)
    assert str(tmp_path) not in json.dumps(listed.facts)


def test_dates_of_objects_count_where_there_are_objects_and_a_batch_of_before_them_goes_on(bundles):
    asked = SegmentOptions(**bundles, formats=("nifti", "seg"))
    before, now = identity_of(asked, 1), identity_of(replace(asked, dates="now"), 1)
    assert "dates" not in before.facts["options"]
    assert before.sha256 != now.sha256
    assert fact_differences(before.facts, now.facts) == "options: dates nothing there, now here"
    nifti = SegmentOptions(**bundles)
    assert identity_of(replace(nifti, dates="now"), 1).sha256 == identity_of(nifti, 1).sha256
    # What a journal of the version before has: every option but this one.
    known = {"roi", "device", "precision", "backend", "uncertainty", "explain", "settings", "read", "formats"}
    assert known <= set(before.facts["options"])


def test_who_waits_for_a_large_tree_is_told_how_many_files_were_looked_at(tmp_path):
    for number in range(250):
        (tmp_path / "in" / str(number % 7)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / str(number % 7) / f"{number}.txt").write_text("no CT")
    told: list[int] = []
    plan_batch(Selection(str(tmp_path / "in")), tmp_path / "out", told.append)
    assert told == [100, 200]


def test_the_settings_of_an_operating_point_are_an_option_and_part_of_what_results_depend_on(bundles):
    said = CliRunner().invoke(app, ["batch", "--help"], env={"COLUMNS": "160"}).output
    assert "--settings" in said
    asked = SegmentOptions(**bundles)
    cut = replace(asked, settings=Settings(least_confidence=0.5))
    assert identity_of(cut, 1).sha256 != identity_of(asked, 1).sha256


def test_progress_without_a_terminal_is_a_line_a_case_with_pace_and_time_left(capsys):
    last = Outcome("ct-1", "done", measures={"nodules": 1}, timings_s={"read": 1.0, "nodules": 2.5})
    with batch_progress() as show:
        for seconds in (0.1, 9.9, 10.0, 15.0, 120.0):
            show(BatchState(0, 0, {}, {}, seconds, searched=int(1000 * seconds)))
        show(BatchState(5, 1, {}, {"ct-1": ("read", 0.0)}, 0.0))
        show(BatchState(5, 1, {"done": 1}, {}, 36.0, last))
        show(BatchState(5, 1, {"done": 1, "failed": 1}, {}, 72.0, Outcome("ct-2", "failed")))
    assert capsys.readouterr().err.splitlines() == [
        "Looking for CTs: 10000 files so far, 10 s",
        "Looking for CTs: 120000 files so far, 2 min",
        "5 cases, 1 of them done before",
        "[2/5] ct-1: done, 1 nodule, 3.5 s; 100 an hour, 2 min left",
        "[3/5] ct-2: failed, ; 1 failed, 100 an hour, 72 s left",
    ]
    assert [duration_text(seconds) for seconds in (89, 600, 29100)] == ["89 s", "10 min", "8 h 05 min"]


@pytest.mark.parametrize("spelling", ["./a.nii", "x/../a.nii", "link.nii", "{folder}/a.nii"])
@pytest.mark.parametrize("with_ids", [False, True])
def test_one_input_in_two_spellings_is_refused_in_a_table(tmp_path, spelling, with_ids):
    tree(tmp_path, "a.nii", "x/b.nii")
    (tmp_path / "link.nii").symlink_to(tmp_path / "a.nii")
    rows = [("a.nii", "one"), ("x/b.nii", "two"), (spelling.format(folder=tmp_path), "three")]
    lines = [f"{image},{case_id}" if with_ids else image for image, case_id in rows]
    (tmp_path / "list.csv").write_text("\n".join(["image,case_id" if with_ids else "image", *lines]))
    with pytest.raises(LungSegError, match=r"E_DUPLICATE_CASE: list.csv lists the same input twice: its cases 1 and 3"):
        plan_of(tmp_path / "list.csv")


def test_one_image_in_two_cases_of_a_manifest_is_refused_and_two_series_of_a_folder_are_two_inputs(tmp_path):
    tree(tmp_path, "a.nii", "study/s.dcm")
    cases = [{"case_id": f"c{n}", "files": {"image": image}} for n, image in enumerate(("a.nii", "./a.nii"))]
    (tmp_path / "set.json").write_text(json.dumps({"name": "x", "cases": cases}))
    with pytest.raises(LungSegError, match=r"E_DUPLICATE_CASE.*c0 and c1"):
        plan_of(tmp_path / "set.json")
    (tmp_path / "list.csv").write_text("image,series\nstudy,1.2\nstudy,1.3\n")
    assert len(plan_of(tmp_path / "list.csv").cases) == 2


def test_another_spelling_of_a_row_keeps_the_key_of_its_input(tmp_path):
    tree(tmp_path, "a.nii")
    keys = []
    for row in ("a.nii", "./a.nii"):
        (tmp_path / "list.csv").write_text(f"image\n{row}\n")
        keys.append(plan_of(tmp_path / "list.csv").cases[0].key)
    assert keys[0] == keys[1]
