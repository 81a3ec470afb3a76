"""Words of the command line: devices, flags, completion, and tables that break no path."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.cli.terminal.results import result_lines, results_table
from lungseg3d.cli.verbs.train import NETWORKS
from lungseg3d.core import BundleError, CaseResult, QualityIssue, UsageError
from lungseg3d.inference.prediction import predictors
from lungseg3d.workflows.segment.models import joined_issues, resolve_device
from lungseg3d.workflows.train.run import training_files
from tests.support.nodule_records import measured_nodule
from tests.support.small_data import BUNDLES

RUNNER = CliRunner()


def test_an_unknown_device_is_answered_with_the_devices_that_there_are(tmp_path):
    done = RUNNER.invoke(app, ["segment", str(tmp_path), "-o", str(tmp_path / "out"), "--device", "gpu"])
    said = " ".join(done.output.replace("│", " ").split())
    assert (done.exit_code, "Value error" in said) == (2, False)
    assert all(name in said for name in ("auto", "cpu", "cuda:N", "mps"))


@pytest.mark.parametrize("words", [["--precision", "fp8"], ["--roi", "head"], ["--backend", "x"]])
def test_choices_are_named_without_a_librarys_words(tmp_path, words):
    done = RUNNER.invoke(app, ["segment", str(tmp_path), "-o", str(tmp_path / "out"), *words])
    assert (done.exit_code, "Value error" in done.output) == (2, False)


@pytest.mark.parametrize(
    ("name", "count", "words"),
    [("cuda", 0, "CUDA"), ("cuda:1", 0, "CUDA"), ("cuda:1", 1, "cuda:0"), ("cuda:4", 2, "cuda:0 to cuda:1")],
)
def test_a_gpu_that_is_not_there_is_refused_with_the_reason(monkeypatch, name, count, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(BundleError, match="E_DEVICE") as error:
        resolve_device(name)
    assert words in error.value.message


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "0", "CUDA", ""])
def test_what_is_no_device_is_wrong_usage(name):
    with pytest.raises(UsageError, match="E_DEVICE"):
        resolve_device(name)


@pytest.mark.parametrize("verb", [[], ["segment"], ["batch"], ["explain"], ["train"], ["prepare"], ["check"]])
def test_help_shows_no_type_beside_a_flag(verb):
    done = RUNNER.invoke(app, [*verb, "--help"])
    assert done.exit_code == 0
    assert "<bool>" not in done.output
    assert "--help" in done.output


def test_the_shell_is_told_the_verbs():
    words = {"_LUNGSEG3D_COMPLETE": "complete_bash", "COMP_WORDS": "lungseg3d seg", "COMP_CWORD": "1"}
    code = "from lungseg3d.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | words, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["segment"]


def test_train_help_names_the_networks_that_there_are():
    for bundle in ("lung_ct_segmentation", "lung_nodule_ct_segmentation"):
        there = {path.stem for path in (BUNDLES / bundle / "configs" / "networks").glob("*.json")}
        assert there == set(NETWORKS)


def test_a_network_is_a_name_or_a_file(tmp_path):
    root = BUNDLES / "lung_ct_segmentation"
    own = tmp_path / "own.json"
    own.write_text("{}", encoding="utf-8")
    assert training_files(root, str(own))[1] == own
    assert training_files(root, "se_unet.json")[1] == training_files(root, "se_unet")[1]
    with pytest.raises(UsageError, match="there is no such file"):
        training_files(root, str(tmp_path / "absent.json"))


def test_a_path_is_one_line_and_a_refusal_has_no_empty_columns():
    from rich.console import Console

    refused = CaseResult("a", "refused", issues=(QualityIssue("E_NO_DICOM", "a: nothing.", "Give another."),))
    assert [column.header for column in results_table([refused]).columns] == ["case", "status"]
    done = CaseResult("b" * 32, "done")
    out = Path("/" + "long-name/" * 15)
    assert result_lines([refused, done], out)[1].endswith(f"{done.case_id}/report.html")
    assert result_lines([refused], out) == ["a: E_NO_DICOM: a: nothing. Give another."]
    console = Console(width=80)
    with console.capture() as captured:
        console.print(results_table([refused, done]))
    assert "report.html" not in captured.get()


def test_the_table_counts_listed_nodules_and_candidates_apart():
    from rich.console import Console

    listed = [measured_nodule(1, long_axis_mm=8.0), measured_nodule(2, long_axis_mm=12.5)]
    hilum = replace(measured_nodule(3, long_axis_mm=32.0), reason="hilar-vessel")
    done = CaseResult("a", "done", nodules=tuple(listed), candidates=(hilum,))
    console = Console(width=100)
    with console.capture() as captured:
        console.print(results_table([done]))
    assert captured.get().splitlines()[-1].split() == ["a", "done", "2", "1", "12.5", "-", "-", "0.0"]


def test_what_two_bundles_say_alike_is_said_once():
    alike = [QualityIssue("W_OOD_CONTRAST", f"{name}: 90 HU.", "Look.") for name in ("one", "two")]
    other = [QualityIssue("W_OOD_SPACING", f"{name}: {name} mm.", "Look.") for name in ("one", "two")]
    first, second = joined_issues([*alike, *other])
    assert (first.code, first.message) == ("W_OOD_CONTRAST", "one and two: 90 HU.")
    assert second.message == "one: one mm. two: two mm."


@pytest.mark.parametrize("words", [["--device", "cuda:7"], ["--backend", "openvino"], ["--precision", "bf16"]])
def test_a_batch_makes_no_folder_for_what_the_machine_does_not_compute(tmp_path, monkeypatch, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(predictors, "has_openvino", lambda: False)
    monkeypatch.setattr(predictors, "obstacle_to", lambda *way: "it is emulated")
    done = RUNNER.invoke(app, ["batch", str(tmp_path), "-o", str(tmp_path / "out"), *words])
    assert done.exit_code == 3
    assert not (tmp_path / "out").exists()
