"""The program from outside: what it passes on, what it prints, how it ends. The workflows are stand-ins."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from lungseg3d import __version__
from lungseg3d.cli import app
from lungseg3d.cli.terminal.console import progress
from lungseg3d.cli.terminal.outcome import with_debug_first
from lungseg3d.cli.terminal.quiet import quieten
from lungseg3d.cli.verbs.prepare import app as prepare_app
from lungseg3d.core import CaseResult, IntakeError, Lung, QualityIssue, Volume
from lungseg3d.io import Inspection, SeriesInfo, read_volume, write_volume
from tests.support.nodule_records import measured_nodule

NODULE = measured_nodule(1)
DONE = CaseResult("case-1", "done", lungs=(Lung("right_lung", 2500.4), Lung("left_lung", 2100.0)), nodules=(NODULE,))
REFUSED = CaseResult("case-2", "refused", issues=(QualityIssue("E_NOT_CT", "the series is MR.", "Choose a CT."),))
FAILED = CaseResult("case-3", "failed")
LUNGLESS = CaseResult("case-4", "no_lungs", issues=(QualityIssue("W_NO_LUNG", "0 ml of lung is labelled.", "Look."),))


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="lungseg3d")


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, **members: object) -> None:
    """Replace a workflow, whether or not it could be loaded here."""
    fake = ModuleType(f"lungseg3d.workflows.{module}")
    vars(fake).update(members)
    monkeypatch.setitem(sys.modules, fake.__name__, fake)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    path = tmp_path / "ct.nii.gz"
    path.touch()
    return path


@pytest.fixture
def segmenting(monkeypatch: pytest.MonkeyPatch):
    """A stand-in for the segmentation: keeps what it was given, returns or raises what it is told to."""
    calls = SimpleNamespace(results=[DONE], error=None)

    def segment_cases(inputs, out, options, on_progress):
        calls.inputs, calls.out, calls.options = inputs, out, options
        on_progress("case-1", "lungs", 0.5)
        if calls.error:
            raise calls.error
        return calls.results

    stand_in(monkeypatch, "segment.cases", SegmentOptions=SimpleNamespace, segment_cases=segment_cases)
    return calls


def test_version_prints_the_version():
    assert run("--version").stdout == f"lungseg3d {__version__}\n"


def test_help_names_the_verbs_and_the_exit_codes():
    shown = run("--help")
    assert shown.exit_code == 0
    for word in ("segment", "check", "convert", "demo", "train", "all done", "none could be done", "wrong usage"):
        assert word in shown.stdout


@pytest.mark.parametrize("command", [*app.registered_commands, *prepare_app.registered_commands])
def test_no_sentence_of_a_verbs_help_breaks_in_the_middle(command):
    said = [line for part in command.callback.__doc__.split("\n\n") for line in part.splitlines()]
    assert [line for line in said if not line.endswith(".")] == []


@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["--version"]])
def test_help_and_version_load_neither_torch_nor_monai_nor_numpy(arguments):
    code = f"""
import atexit, sys
from lungseg3d.cli import main
atexit.register(lambda: print("LOADED", *sorted({{"torch", "monai", "numpy", "mlflow"}} & set(sys.modules))))
sys.argv = ["lungseg3d", *{arguments!r}]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_segment_passes_every_option_on(segmenting, ct, tmp_path):
    options = [
        "--recursive",
        "--roi",
        "full",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--overwrite",
        "--lung-bundle",
        tmp_path,
    ]
    options += ["--series", "1.2.3", "--allow-gaps", "--assume-hu", "--fix-offset", "--assume-axes", "RAS"]
    options += ["--volume-index", "1", "--strict", "--verify-manifest", ct]
    done = run("segment", ct, ct, "--out", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert (segmenting.inputs, segmenting.out) == ([ct, ct], tmp_path / "out")
    asked = segmenting.options
    assert (asked.roi, asked.device, asked.precision, asked.overwrite) == ("full", "cpu", "fp32", True)
    assert asked.recursive
    assert (asked.lung_bundle, asked.nodule_bundle) == (tmp_path, None)
    read = asked.read
    assert (read.series, read.allow_gaps, read.assume_hu, read.fix_offset) == ("1.2.3", True, True, True)
    assert (read.assume_axes, read.volume_index, read.strict, read.verify_manifest) == ("RAS", 1, True, ct)


def test_segment_passes_on_every_place_that_is_named(segmenting, ct, tmp_path):
    done = run("segment", ct, "--out", tmp_path / "out", "--at", "middle", "--at", "31,40.5,22")
    assert done.exit_code == 0, done.output
    assert segmenting.options.at == ("middle", "31,40.5,22")
    assert run("segment", ct, "--out", tmp_path / "out").exit_code == 0
    assert segmenting.options.at == ()


def test_a_named_place_where_nothing_was_outlined_is_said_on_the_screen(segmenting, ct):
    searched = QualityIssue("W_NOT_SEARCHED", "only the places.", "")
    segmenting.results = [replace(DONE, issues=(searched, QualityIssue("W_EMPTY_PLACE", "At middle nothing.")))]
    shown = run("segment", ct, "--out", "out", "--at", "middle")
    assert shown.exit_code == 0
    assert "case-1: W_EMPTY_PLACE: At middle nothing." in shown.stderr
    assert "W_NOT_SEARCHED" not in shown.stderr


@pytest.mark.parametrize("place", ["31,40", "31,40,x", "centre", "1,2,3,4", ""])
def test_what_is_no_place_is_wrong_usage(segmenting, ct, tmp_path, place):
    done = run("segment", ct, "--out", tmp_path / "out", "--at", place)
    assert done.exit_code == 2
    assert "neither middle nor three numbers" in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([DONE], 0),
        ([DONE, REFUSED], 8),
        ([DONE, FAILED], 8),
        ([DONE, LUNGLESS], 8),
        ([REFUSED, FAILED], 3),
        ([LUNGLESS], 3),
        ([], 3),
    ],
)
def test_segment_ends_with_0_8_or_3_by_how_many_cases_are_done(segmenting, ct, results, code):
    segmenting.results = results
    assert run("segment", ct, "--out", "out").exit_code == code


def test_segment_prints_a_row_for_each_case(segmenting, ct):
    segmenting.results = [DONE, REFUSED]
    shown = run("segment", ct, "--out", "out")
    table, lines = shown.stdout.split("\n\n", 1)
    tops = [row for row in table.splitlines() if row.startswith("case-")]
    assert tops[0].split() == ["case-1", "done", "1", "0", "11.4", "2500", "2100", "0.0"]
    assert tops[1].split() == ["case-2", "refused"]
    told = ["case-1: out/case-1/report.html", "case-2: E_NOT_CT: the series is MR. Choose a CT."]
    assert lines.splitlines()[:2] == told
    assert "case-1: lungs" in shown.stderr.splitlines()


def test_a_case_without_lungs_has_no_count_of_nodules_and_says_why(segmenting, ct):
    segmenting.results = [LUNGLESS]
    rows = run("segment", ct, "--out", "out").stdout.splitlines()
    (row,) = [row for row in rows if row.startswith("case-4 ")]
    assert row.split() == ["case-4", "no_lungs"]
    assert any(row.startswith("case-4: out/case-4/report.html") for row in rows)
    assert "W_NO_LUNG: 0 ml of lung is labelled." in " ".join(" ".join(rows).split())


def test_what_puts_a_result_in_doubt_stands_in_the_table_and_other_warnings_do_not(segmenting, ct):
    issues = (QualityIssue("W_OOD_NOISE", "noisy."), QualityIssue("W_ANATOMY_ORIENTATION", "the spine lies in front."))
    segmenting.results = [replace(DONE, issues=issues)]
    shown = " ".join(run("segment", ct, "--out", "out").stdout.split())
    assert "W_ANATOMY_ORIENTATION: the spine lies in front." in shown
    assert "W_OOD_NOISE" not in shown


def test_a_refusal_is_code_message_and_remedy_without_a_traceback(segmenting, ct):
    segmenting.error = IntakeError("E_GAPS", "slices 88 and 89 lie 3.75 mm apart.", "Pass --allow-gaps.")
    shown = run("segment", ct, "--out", "out")
    assert shown.exit_code == 3
    assert shown.stderr.splitlines()[-2:] == ["E_GAPS: slices 88 and 89 lie 3.75 mm apart.", "Pass --allow-gaps."]


def test_a_fault_is_one_line_and_the_way_to_its_traceback(segmenting, ct):
    segmenting.error = ValueError("shapes\n(3,) and (4,)")
    shown = run("segment", ct, "--out", "out")
    assert shown.exit_code == 1
    assert shown.stderr.splitlines()[-2:] == [
        "Error: ValueError: shapes (3,) and (4,)",
        "Run again with --debug for the traceback.",
    ]


def test_debug_lets_the_traceback_through(segmenting, ct):
    segmenting.error = ValueError("shapes")
    assert run("--debug", "segment", ct, "--out", "out").exception is segmenting.error


def test_debug_may_be_written_anywhere_but_behind_two_dashes():
    assert with_debug_first(["segment", "a", "--debug", "--out", "b"]) == ["--debug", "segment", "a", "--out", "b"]
    assert with_debug_first(["segment", "--", "--debug"]) == ["segment", "--", "--debug"]


def test_ctrl_c_ends_with_130(segmenting, ct):
    segmenting.error = KeyboardInterrupt()
    shown = run("segment", ct, "--out", "out")
    assert (shown.exit_code, shown.stderr.splitlines()[-1]) == (130, "Stopped by Ctrl-C.")


def test_cases_without_the_dicom_objects_that_were_asked_for_are_named_on_the_screen(segmenting, monkeypatch, ct):
    issue = QualityIssue("W_NO_DICOM_OBJECTS", "no SEG and no SR: two slices share one UID.", "Export it again.")
    segmenting.results = [replace(DONE, issues=(issue,))]
    shown = run("segment", ct, "--out", "out", "--format", "nifti,seg")
    assert shown.exit_code == 0
    assert "case-1: W_NO_DICOM_OBJECTS: no SEG and no SR: two slices share one UID." in shown.stderr
    records = {f"case-{n}": SimpleNamespace(status="done", issues=(issue,) if n else ()) for n in range(9)}
    done = SimpleNamespace(records=records, ignored=0, skipped=0, page="index.html", stopped_by=None)
    stand_in(monkeypatch, "batch.run", batch=lambda *_: done)
    shown = run("batch", ct, "--out", "out", "--format", "nifti,seg")
    assert shown.exit_code == 0
    assert "W_NO_DICOM_OBJECTS: no SEG and SR of 8 cases" in shown.stderr
    assert "case-1, case-2, case-3, case-4, case-5, ..." in shown.stderr


@pytest.mark.parametrize(
    "arguments",
    [["segment"], ["segment", "CT"], ["segment", "CT", "--out", "o", "--roi", "all"], ["check", "nowhere"], ["dream"]],
)
def test_wrong_usage_ends_with_2(segmenting, ct, arguments):
    assert run(*[ct if argument == "CT" else argument for argument in arguments]).exit_code == 2


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("refused", 3)])
def test_check_tells_the_status_the_series_and_the_issues(monkeypatch, ct, status, code):
    inspection = Inspection(
        series=(
            SeriesInfo("1.2", "CT", 120, 512, 512, (0.7, 0.7, 1.25), "axial", 1.25, "B50f"),
            SeriesInfo("1.3", "CT", 4, problem="E_TOO_FEW_SLICES: 4 slices."),
        ),
        chosen="1.2",
        reason="it has the thinnest slices.",
        status=status,
        issues=(QualityIssue("W_MULTI_SERIES", "two series.", "Pass --series 1.3."),),
    )
    stand_in(monkeypatch, "check", check=lambda path, options: inspection)
    in_words, in_json = run("check", ct), run("check", ct, "--json")
    assert in_words.exit_code == in_json.exit_code == code
    facts = {key: inspection.to_json()[key] for key in ("series", "chosen", "status", "issues")}
    assert json.loads(in_json.stdout) == json.loads(json.dumps(facts))
    assert in_words.stdout.splitlines() == [
        f"Status: {status}",
        "",
        "used: CT, 120 slices of 512 x 512, 0.7 x 0.7 x 1.25 mm, 1.25 mm thick, axial, kernel B50f",
        "    1.2",
        "",
        "not used: CT, 4 slices, ? x ? x ? mm",
        "    1.3",
        "    E_TOO_FEW_SLICES: 4 slices.",
        "",
        "Reason of the choice: it has the thinnest slices.",
        "",
        "W_MULTI_SERIES: two series.",
        "Pass --series 1.3.",
    ]


def test_check_of_a_real_file_needs_no_torch(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    code = f"""
import atexit, sys
from lungseg3d.cli import main
atexit.register(lambda: print("LOADED", *sorted({{"torch", "monai"}} & set(sys.modules))))
sys.argv = ["lungseg3d", "check", {str(tmp_path)!r}]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("Status: refused\n")
    assert "E_NO_DICOM" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_convert_and_check_agree_with_the_volume_that_was_written(tmp_path):
    values = np.random.default_rng(1).integers(-1000, 300, (12, 10, 8)).astype(np.int16)
    volume = Volume(values, np.diag([-0.7, -0.7, 1.25, 1]))
    write_volume(tmp_path / "ct.nii.gz", volume)
    target = tmp_path / "copy.nii.gz"
    assert run("check", tmp_path / "ct.nii.gz").exit_code == 0
    assert run("convert", tmp_path / "ct.nii.gz", target).exit_code == 0
    assert np.array_equal(read_volume(target).array, values)
    again = run("convert", tmp_path / "ct.nii.gz", target)
    assert again.exit_code == 3
    assert again.stderr.startswith("E_OUTPUT_EXISTS: ")


def test_convert_says_what_it_wrote(monkeypatch, ct, tmp_path):
    volume = Volume(np.zeros((4, 5, 6), np.int16), np.diag([0.7, 0.7, 1.25, 1]))
    asked = []

    def convert(source, target, options, overwrite=False):
        asked.append((source, target, overwrite))
        return SimpleNamespace(volume=volume, issues=())

    stand_in(monkeypatch, "convert", convert=convert)
    target = tmp_path / "out.nii.gz"
    shown = run("convert", ct, target, "--overwrite")
    assert asked == [(ct, target, True)]
    assert shown.stdout == f"{target}: 4 x 5 x 6 voxels of 0.7 x 0.7 x 1.25 mm\n"


@pytest.mark.parametrize(("option", "opened"), [("--open", 1), ("--no-open", 0), (None, 0)])
def test_demo_opens_its_report_only_when_asked_or_at_a_screen(monkeypatch, tmp_path, option, opened):
    report = tmp_path / "results" / "case-1" / "report.html"
    found = {"found": 5, "among_candidates": 2, "planted": 8, "unplanted": 1, "unplanted_candidates": 4}
    result = SimpleNamespace(folder=tmp_path, report=report, **found, result=DONE)
    stand_in(monkeypatch, "demo", demo=lambda out, seed, on_progress: result)
    shown_pages: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown_pages.append)
    shown = run("demo", "--out", tmp_path, *([option] if option else []))
    assert shown.exit_code == 0, shown.output
    places = "Of 8 planted nodules of 5 mm and more: 5 in the list, 2 among the candidates, 1 in neither;"
    assert f"{places} 1 more in the list and 4 more candidates match none." in " ".join(shown.stdout.split())
    assert shown_pages == [report.as_uri()] * opened


def test_train_passes_overlays_and_overrides_on_and_ends_with_its_code(monkeypatch, tmp_path):
    asked = []

    def train(bundle, **settings):
        asked.append((bundle, settings))
        return 5

    stand_in(monkeypatch, "train.run", train=train)
    overrides = ["--set", "trainer::max_epochs=10", "--set", "loss::weight=[0.2, 1]=x"]
    done = run("train", tmp_path, "--network", "se_unet", "--fold", "0", *overrides)
    assert done.exit_code == 5
    settings = {"trainer::max_epochs": "10", "loss::weight": "[0.2, 1]=x"}
    assert asked == [
        (
            tmp_path,
            {
                "network": "se_unet",
                "training": None,
                "fold": 0,
                "overrides": settings,
                "out": None,
                "trust": False,
            },
        ),
    ]
    assert run("train", tmp_path, "--set", "epochs").exit_code == 2


def test_a_reader_that_closes_the_pipe_does_not_stop_the_work():
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from lungseg3d.cli.terminal.console import say; [say(str(i)) for i in range(9)]; sys.exit(8)"
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (8, "")


def test_progress_without_a_terminal_is_one_line_a_step(capsys):
    with progress() as on_progress:
        for step, fraction in (("read", 0.0), ("read", 0.1), ("lungs", 0.5), ("lungs", 1.0)):
            on_progress("case-1", step, fraction)
    assert capsys.readouterr().err.splitlines() == ["case-1: read", "case-1: lungs"]


def test_quiet_drops_the_known_lines_and_nothing_else(caplog):
    known = "NvImgCodecPydicomReader: nvImageCodec decoder plugin did not register successfully."
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        quieten()
        for text in (known, "another thing"):
            warnings.warn_explicit(text, UserWarning, "image_reader.py", 1, module="monai.data.image_reader")
    assert [str(warning.message) for warning in shown] == ["another thing"]
    logger = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    logger.warning("nvImageCodec is not available; skipping pydicom decoder plugin registration.")
    logger.warning("a decoder broke")
    assert caplog.messages == ["a decoder broke"]
