"""`batch`: every good case done, every bad one explained, nothing lost, nothing doubled.

A threshold stands in for the networks; reading, writing, processes and journal are the real ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import lungseg3d
from lungseg3d.cli import app
from lungseg3d.core import BundleError, LungSegError, OutputError
from lungseg3d.io import ReadOptions, open_ct, read_labels, sha256_of, writing
from lungseg3d.workflows.batch.plan import Selection
from lungseg3d.workflows.batch.run import batch
from lungseg3d.workflows.batch.verify import verify_batch
from lungseg3d.workflows.batch_state.identity import Identity, identity_of
from lungseg3d.workflows.batch_state.journal import BatchJournal
from lungseg3d.workflows.batch_state.records import BatchOptions
from lungseg3d.workflows.segment.options import SegmentOptions
from tests.support.batch_stand_in import FILES, StandIn, contents, write_ct
from tests.support.small_data import BUNDLES
from tests.support.tables import read_table

TWO = BatchOptions(workers=2)


def run(source: Path, out: Path, options: BatchOptions = TWO, segmenter: StandIn = StandIn(), data=None):  # noqa: B008
    done = batch(Selection(str(source), data), out, options, None, segmenter)
    return {case_id: (record.status, [i.code for i in record.issues]) for case_id, record in done.records.items()}


def good_cts(folder: Path, count: int) -> Path:
    for number in range(count):
        write_ct(folder / f"ct-{number:02d}.nii.gz", number)
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Path:
    return good_cts(tmp_path_factory.mktemp("three"), 3)


@pytest.fixture
def done(three, tmp_path) -> Path:
    """Three cases, done."""
    run(three, tmp_path / "out")
    return tmp_path / "out"


def test_twenty_cases_of_which_ten_are_bad_give_ten_right_outputs_and_twenty_records(tmp_path, monkeypatch):
    source = good_cts(tmp_path / "in", 10)
    for number, fault in enumerate(("raise", "hang", "greedy", "killed", "abort", "altered")):
        write_ct(source / f"{fault}.nii.gz", 100 + number)
    (source / "text.nii.gz").write_text("no image")
    (source / "cut.nii.gz").write_bytes((source / "ct-00.nii.gz").read_bytes()[:900])
    (source / "nothing.nii.gz").touch()
    (source / "empty").mkdir()
    monkeypatch.setattr("lungseg3d.workflows.batch.run.CaseSegmenter", lambda options, threads: StandIn())
    options = ["--workers", "2", "--time-limit", "3", "--memory-limit", "16"]
    shown = CliRunner().invoke(app, ["batch", str(source), "--out", str(tmp_path / "out"), *options])
    assert shown.exit_code == 8, shown.output
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    codes = {case["case_id"]: [issue["code"] for issue in case["issues"]] for case in found["cases"]}
    assert len(codes) == 20
    assert found["counts"] == {"done": 10, "refused": 4, "failed": 6}
    assert {name: codes[name] for name in codes if not name.startswith("ct-")} == {
        "raise": ["E_UNEXPECTED"],
        "hang": ["E_TIMEOUT"],
        "greedy": ["E_OUT_OF_MEMORY"],
        "killed": ["E_WORKER_LOST"],
        "abort": ["E_OUT_OF_MEMORY"],
        "altered": ["E_INPUT_CHANGED"],
        "text": ["E_NOT_AN_IMAGE"],
        "cut": ["E_TRUNCATED"],
        "nothing": ["E_NOT_AN_IMAGE"],
        "empty": ["E_NO_DICOM"],
    }
    for number in range(10):
        folder = tmp_path / "out" / f"ct-{number:02d}"
        assert sorted(path.name for path in folder.iterdir()) == FILES
        ct = open_ct(source / f"ct-{number:02d}.nii.gz").volume
        assert np.array_equal(read_labels(folder / "labels.nii.gz").array, ct.array < -500)
    rows = read_table(tmp_path / "out" / "summary.csv")
    assert [row["case_id"] for row in rows] == sorted(codes)
    page = (tmp_path / "out" / "index.html").read_text()
    for name in codes:
        assert (tmp_path / "out" / name / "report.html").is_file()
        assert f'href="{name}/report.html"' in page
    assert not verify_batch(tmp_path / "out").problems


def test_a_record_holds_input_weights_configuration_program_outputs_issues_and_times_by_their_sums(three, done):
    with sqlite3.connect(done / "journal.db") as database:
        database.row_factory = sqlite3.Row
        rows = {row["case_id"]: row for row in database.execute("SELECT * FROM cases")}
        ((identity, facts),) = database.execute("SELECT sha256, facts FROM identities").fetchall()
    assert hashlib.sha256(json.dumps(json.loads(facts), sort_keys=True).encode()).hexdigest() == identity
    known = json.loads(facts)
    for role, name in (("lung_bundle", "lung_ct_segmentation"), ("nodule_bundle", "lung_nodule_ct_segmentation")):
        for file in ("models/model.pt", "configs/inference.json", "configs/metadata.json"):
            assert known["bundles"][role][file] == sum_of(BUNDLES / name / file)
    assert sorted(rows) == ["ct-00", "ct-01", "ct-02"]
    for case_id, row in rows.items():
        assert row["status"] == "done"
        assert row["input_sha256"] == sha256_of(three / f"{case_id}.nii.gz")
        assert row["identity_sha256"] == identity
        assert json.loads(row["weights_sha256"]) == {
            role: files["models/model.pt"] for role, files in known["bundles"].items()
        }
        assert row["code_version"] == known["version"] == lungseg3d.__version__
        outputs = json.loads(row["outputs"])
        assert [name for name, _, _ in outputs] == FILES
        for name, sha256, size in outputs:
            data = (done / case_id / name).read_bytes()
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (sha256, size)
        assert {code for code, *_ in json.loads(row["issues"])} <= {"W_SHORT_COVERAGE"}
        assert row["ended_at"] > 1.7e9


def sum_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_second_run_does_nothing_again_but_what_failed(three, tmp_path):
    source = shutil.copytree(three, tmp_path / "in")
    (source / "text.nii.gz").write_text("no image")
    write_ct(source / "raise.nii.gz", 5)
    begun = tmp_path / "begun"
    begun.mkdir()
    first = run(source, tmp_path / "out", segmenter=StandIn(begun=begun))
    before = contents(tmp_path / "out")
    assert run(source, tmp_path / "out", segmenter=StandIn(begun=begun)) == first
    counts = Counter(path.name.rsplit("-", 2)[0] for path in begun.iterdir())
    assert counts == {"ct-00": 1, "ct-01": 1, "ct-02": 1, "text": 1, "raise": 2}
    assert contents(tmp_path / "out") == before


def test_workers_and_runs_and_order_do_not_change_a_byte(three, tmp_path):
    rows = [f"{path}\n" for path in sorted(three.iterdir())]
    found = []
    for name, workers, lines in (("a", 1, rows), ("b", 2, rows[::-1]), ("c", 4, rows)):
        (tmp_path / f"{name}.csv").write_text("image\n" + "".join(lines))
        run(tmp_path / f"{name}.csv", tmp_path / name, BatchOptions(workers=workers))
        found.append(contents(tmp_path / name))
    assert len(found[0]) == 3 * len(FILES) + 3
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("changed", [{"roi": "full"}, {"precision": "bf16"}])
def test_another_option_is_refused_and_made_again_only_when_asked(three, done, changed):
    before = contents(done)
    other = BatchOptions(SegmentOptions(**changed), workers=2)
    with pytest.raises(OutputError, match=r"E_STALE_OUTPUT: ct-00 and 2 more: .*options: ") as refused:
        run(three, done, other)
    assert str(next(iter(changed.values()))) in str(refused.value)
    assert contents(done) == before
    overwriting = BatchOptions(SegmentOptions(**changed, overwrite=True), workers=2)
    assert {status for status, _ in run(three, done, overwriting).values()} == {"done"}
    run(three, done, other)
    assert not (done / "set-aside").exists()


def test_another_model_is_refused(three, done, monkeypatch):
    facts = identity_of(SegmentOptions(), 1).facts
    weights = {**facts["bundles"]["lung_bundle"], "models/model.pt": "0" * 64}
    other = Identity({**facts, "bundles": {**facts["bundles"], "lung_bundle": weights}})
    monkeypatch.setattr("lungseg3d.workflows.batch.run.identity_of", lambda options, threads: other)
    with pytest.raises(OutputError, match=r"E_STALE_OUTPUT: .*models/model.pt"):
        run(three, done)


def test_a_changed_input_is_refused_and_a_touched_one_is_not(three, tmp_path):
    source, out = shutil.copytree(three, tmp_path / "in"), tmp_path / "out"
    run(source, out)
    before = contents(out)
    os.utime(source / "ct-00.nii.gz", (1, 1))
    run(source, out)
    assert contents(out) == before
    write_ct(source / "ct-00.nii.gz", 77)
    with pytest.raises(OutputError, match=r"E_STALE_OUTPUT: ct-00: .*the input has changed"):
        run(source, out)
    run(source, out, BatchOptions(SegmentOptions(overwrite=True)))
    assert contents(out) != before


def test_verify_finds_what_was_changed_and_the_next_run_makes_it_again_and_throws_nothing_away(three, done):
    before = contents(done)
    (done / "ct-00" / "labels.nii.gz").write_bytes(b"corrected by hand")
    (done / "ct-01" / "report.html").unlink()
    (done / "ct-02" / "notes.txt").write_text("mine")
    shown = CliRunner().invoke(app, ["batch", "--verify", str(done)])
    assert shown.exit_code == 3
    assert "ct-00: labels.nii.gz: 17 bytes" in shown.stderr
    assert "ct-01: report.html: missing" in shown.stderr
    assert "ct-02: notes.txt: not of this batch" in shown.stderr
    run(three, done)
    assert (done / "set-aside" / "ct-00" / "labels.nii.gz").read_bytes() == b"corrected by hand"
    assert (done / "set-aside" / "ct-02" / "notes.txt").read_text() == "mine"
    assert {name: data for name, data in contents(done).items() if not name.startswith("set-aside")} == before
    assert CliRunner().invoke(app, ["batch", "--verify", str(done)]).exit_code == 0


def test_one_changed_bit_is_found(done):
    path = done / "ct-01" / "labels.nii.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert verify_batch(done).problems == {"ct-01": ("labels.nii.gz: other content than was written",)}


def test_a_folder_of_another_program_under_a_cases_name_is_set_aside(three, tmp_path):
    (tmp_path / "out" / "ct-01").mkdir(parents=True)
    (tmp_path / "out" / "ct-01" / "labels.nii.gz").write_text("half")
    assert {status for status, _ in run(three, tmp_path / "out").values()} == {"done"}
    assert (tmp_path / "out" / "set-aside" / "ct-01" / "labels.nii.gz").read_text() == "half"


def test_files_count_for_nothing_without_the_journal(three, done):
    before = contents(done)
    (done / "journal.db").unlink()
    run(three, done)
    now = contents(done)
    assert {name: data for name, data in now.items() if not name.startswith("set-aside")} == before
    assert len(now) == len(before) + 3 * len(FILES)


def test_what_a_kill_left_half_written_beside_the_cases_is_removed(three, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".writing-x-journal.db").write_bytes(b"half a journal")
    with writing(out / "of-another.txt"):  # of a living process
        run(three, out)
        assert [path.name.endswith("-of-another.txt") for path in out.glob(".writing-*")] == [True]
    assert not list(out.glob(".writing-*"))


def test_models_that_cannot_be_opened_stop_everything(three, tmp_path):
    fault = BundleError("E_BAD_CHECKPOINT", "the weights are no weights", "Get them again.")
    with pytest.raises(LungSegError, match=r"E_BAD_CHECKPOINT: the weights are no weights"):
        run(three, tmp_path / "out", segmenter=StandIn(fault=fault))
    assert run(three, tmp_path / "out") == {f"ct-0{number}": ("done", []) for number in range(3)}


def test_a_second_batch_is_kept_out_of_the_folder(three, tmp_path):
    program = start(three, tmp_path, delay_s=5)
    wait_for(lambda: len(list((tmp_path / "begun").iterdir())) > 0)
    with pytest.raises(OutputError, match=f"E_LOCKED: .*process {program.pid}"):
        run(three, tmp_path / "out")
    program.kill()
    program.wait()
    run(three, tmp_path / "out")


def start(source: Path, folder: Path, delay_s: float, workers: int = 2) -> subprocess.Popen:
    """A batch as a process of its own, which writes to `folder`."""
    (folder / "begun").mkdir(exist_ok=True)
    words = [sys.executable, "-m", "tests.support.batch_stand_in", source, folder / "out", workers, delay_s]
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.Popen([*map(str, words), str(folder / "begun")], env=environment, cwd=root)


def wait_for(condition, longest_s: float = 120.0) -> None:
    end = time.monotonic() + longest_s
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_within_ten_seconds_and_the_rest_is_done_by_the_next_run(three, tmp_path, number, code):
    program = start(three, tmp_path, delay_s=60)
    wait_for(lambda: len(list((tmp_path / "begun").iterdir())) == 2)
    program.send_signal(number)
    began = time.monotonic()
    assert program.wait(10) == code
    assert time.monotonic() - began < 10
    journal = BatchJournal(tmp_path / "out", read_only=True)
    assert [record.status for record in journal.records().values()] == ["pending"] * 3
    journal.close()
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["counts"] == {"done": 0, "pending": 3}
    run(three, tmp_path / "out")
    run(three, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_case_that_is_nearly_done_is_finished_after_a_signal(three, tmp_path):
    program = start(three, tmp_path, delay_s=2, workers=1)
    wait_for(lambda: len(list((tmp_path / "begun").iterdir())) == 1)
    program.send_signal(signal.SIGINT)
    assert program.wait(10) == 130
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["counts"] == {"done": 1, "pending": 2}


def kill_at_random(source: Path, folder: Path, kills: int, seed: int) -> None:
    """Start a batch again and again and kill it at any moment with SIGKILL."""
    random = np.random.default_rng(seed)
    killed = 0
    while killed < kills:
        program = start(source, folder, delay_s=0.02)
        try:
            program.wait(float(random.uniform(0.3, 2.5)))
        except subprocess.TimeoutExpired:
            program.kill()
            killed += 1
        program.wait()
        check_no_partial_file(folder / "out")


def check_no_partial_file(out: Path) -> None:
    """What lies under a final name is whole, and what the journal calls done lies there."""
    for folder in out.iterdir() if out.is_dir() else ():
        if folder.is_dir() and not folder.name.startswith("."):
            assert sorted(path.name for path in folder.iterdir()) == FILES
    if (out / "journal.db").is_file():
        assert not verify_batch(out).problems


def killed_and_whole(source: Path, folder: Path, kills: int, seed: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What a batch leaves that was killed at random, and then run to its end; and what one leaves that was not."""
    kill_at_random(source, folder, kills, seed)
    program = start(source, folder, delay_s=0)
    assert program.wait() == 0
    run(source, folder / "whole")
    return contents(folder / "out"), contents(folder / "whole")


def test_a_batch_killed_three_times_gives_the_bytes_of_one_that_was_not(tmp_path):
    killed, whole = killed_and_whole(good_cts(tmp_path / "in", 12), tmp_path, kills=3, seed=1)
    assert killed == whole


@pytest.mark.slow
def test_a_batch_killed_fifty_times_gives_the_bytes_of_one_that_was_not(tmp_path):
    killed, whole = killed_and_whole(good_cts(tmp_path / "in", 100), tmp_path, kills=50, seed=2)
    assert killed == whole


@pytest.mark.slow
def test_a_thousand_inputs_of_one_name_give_a_thousand_outputs(tmp_path):
    for number in range(1000):
        write_ct(tmp_path / "in" / f"p{number}" / "scan" / "chest.nii.gz", number)
    done = batch(Selection(str(tmp_path / "in")), tmp_path / "out", BatchOptions(workers=4), None, StandIn())
    assert [record.status for record in done.records.values()] == ["done"] * 1000
    assert len({record.input_sha256 for record in done.records.values()}) == 1000
    assert len(list((tmp_path / "out").glob("*/result.json"))) == 1000
    assert len(verify_batch(tmp_path / "out").whole) == 1000


def test_nothing_that_is_written_names_a_folder_above_a_case(tmp_path):
    source = tmp_path / "DOE^JANE-19540312"
    write_ct(source / "ward" / "ct-1.nii.gz", 1)
    (source / "ward" / "ct-2.nii.gz").write_text("no image")
    write_ct(source / "ward" / "raise.nii.gz", 3)
    run(source, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert b"DOE" not in path.read_bytes(), path
            assert b"ward" not in path.read_bytes(), path


def test_links_out_of_the_tree_are_named_and_followed_by_the_same_line_with_one_word_more(three, tmp_path):
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    tree.mkdir()
    shutil.copytree(three, outside)
    shutil.copy(three / "ct-00.nii.gz", tree / "own.nii.gz")
    for number in (1, 2):
        (tree / f"linked-{number}.nii.gz").symlink_to(outside / f"ct-0{number}.nii.gz")
    (tree / "absent.nii.gz").symlink_to("/nowhere/.git/annex/objects/a/b/KEY/KEY")
    left = {"linked-1": ("refused", ["E_LINK_NOT_FOLLOWED"]), "linked-2": ("refused", ["E_LINK_NOT_FOLLOWED"])}
    absent = {"absent": ("refused", ["E_LINK_BROKEN"])}
    own = {"own": ("done", [])}
    assert run(tree, tmp_path / "out") == left | absent | own
    (before,) = (tmp_path / "out" / "own").glob("labels.nii.gz")
    changed = before.stat().st_mtime_ns
    followed = batch(
        Selection(str(tree), follow_links=True),
        tmp_path / "out",
        replace(TWO, segment=replace(TWO.segment, read=ReadOptions(follow_links=True))),
        None,
        StandIn(),
    )
    statuses = {case_id: record.status for case_id, record in followed.records.items()}
    assert statuses == {"absent": "refused", "own": "done", "linked-1": "done", "linked-2": "done"}
    assert before.stat().st_mtime_ns == changed
    assert sorted(path.name for path in outside.iterdir()) == ["ct-00.nii.gz", "ct-01.nii.gz", "ct-02.nii.gz"]


def test_listed_nodules_are_counted_and_measured_and_candidates_stand_apart(tmp_path, monkeypatch):
    source = good_cts(tmp_path / "in", 1)
    write_ct(source / "nodules.nii.gz", 50)
    monkeypatch.setattr("lungseg3d.workflows.batch.run.CaseSegmenter", lambda options, threads: StandIn())
    out = tmp_path / "out"
    shown = CliRunner().invoke(app, ["batch", str(source), "--out", str(out), "--workers", "1"])
    assert shown.exit_code == 0, shown.output
    found = json.loads((out / "summary.json").read_text())
    assert found["schema_version"] == 2
    counts = {case["case_id"]: (case["nodules"], case["candidates"], case["largest_mm"]) for case in found["cases"]}
    assert counts == {"ct-00": (0, 0, None), "nodules": (2, 1, 12.5)}
    (row,) = [row for row in read_table(out / "summary.csv") if row["case_id"] == "nodules"]
    assert (row["nodules"], row["candidates"], row["largest_mm"]) == ("2", "1", "12.5")
    assert list(row)[-1] == "candidates"  # columns that were there before keep their places
    cells = '<td class="num">2</td><td class="num">12.5</td><td class="num">1</td>'
    assert cells in (out / "index.html").read_text()


def test_a_case_without_lungs_is_complete_counted_apart_and_has_no_count_of_nodules(tmp_path, monkeypatch):
    source = good_cts(tmp_path / "in", 1)
    write_ct(source / "lungless.nii.gz", 50)
    monkeypatch.setattr("lungseg3d.workflows.batch.run.CaseSegmenter", lambda options, threads: StandIn())
    out = tmp_path / "out"
    shown = CliRunner().invoke(app, ["batch", str(source), "--out", str(out), "--workers", "1"])
    assert shown.exit_code == 8, shown.output
    assert "1 done, 1 no_lungs" in shown.output
    found = json.loads((out / "summary.json").read_text())
    assert found["counts"] == {"done": 1, "no_lungs": 1}
    (case,) = [case for case in found["cases"] if case["case_id"] == "lungless"]
    assert (case["status"], case["nodules"], case["right_lung_ml"]) == ("no_lungs", None, None)
    (row,) = [row for row in read_table(out / "summary.csv") if row["case_id"] == "lungless"]
    assert (row["nodules"], row["reason"]) == ("", "0 ml of lung is labelled.")
    page = (out / "index.html").read_text()
    assert "W_NO_LUNG" in page.split('id="done"')[0]
    assert sorted(path.name for path in (out / "lungless").iterdir()) == FILES
    before = contents(out)
    again = CliRunner().invoke(app, ["batch", str(source), "--out", str(out), "--workers", "1"])
    assert again.exit_code == 8
    assert "(2 before)" in again.output
    assert contents(out) == before
    assert CliRunner().invoke(app, ["batch", "--verify", str(out)]).exit_code == 0


def test_a_batch_in_which_no_case_has_lungs_ends_with_3(tmp_path, monkeypatch):
    write_ct(tmp_path / "in" / "lungless.nii.gz", 50)
    monkeypatch.setattr("lungseg3d.workflows.batch.run.CaseSegmenter", lambda options, threads: StandIn())
    shown = CliRunner().invoke(app, ["batch", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--workers", "1"])
    assert shown.exit_code == 3, shown.output
