"""Series whose decoder crashes, hangs or fills the memory cost `segment` and `check` their own case and no other."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.io import ReadOptions, write_dicom_series
from lungseg3d.io.decoding import client as decoder_module
from lungseg3d.io.decoding.client import DecodingLimits, DecodingProcess
from lungseg3d.workflows.batch_state.identity import identity_of
from lungseg3d.workflows.segment.cases import segment_cases
from lungseg3d.workflows.segment.options import SegmentOptions
from tests.support.hostile_codec import compress, plant_codec

TRAPS = ("crash", "hang", "memory")


@pytest.fixture
def hostile(chest, tmp_path, monkeypatch):
    """The chest five times, three of them with a trap; and a decoder that falls into it."""
    (tmp_path / "codec").mkdir()
    path = os.pathsep.join([plant_codec(tmp_path / "codec"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    names = ("good-1", *TRAPS, "good-2")
    for name in names:
        write_dicom_series(tmp_path / "in" / name, chest.ct)
        compress(tmp_path / "in" / name, name.upper() if name in TRAPS else "")
    own = DecodingProcess(DecodingLimits(time_s=8.0, memory_bytes=2**30))
    monkeypatch.setattr(decoder_module, "_decoders", {os.getpid(): own})
    yield [tmp_path / "in" / name for name in names]
    own.end()


def test_five_series_of_which_three_are_hostile_give_two_results_and_three_reasons(hostile, bundles, tmp_path):
    options = SegmentOptions(
        device="cpu",
        precision="fp32",
        lung_bundle=bundles.lungs,
        nodule_bundle=bundles.nodules,
        read=ReadOptions(decode="apart"),
        write_timings=False,
    )
    results = segment_cases(hostile, tmp_path / "out", options)
    assert [result.status for result in results] == ["done", "refused", "refused", "failed", "done"]
    codes = [issue.code for result in results for issue in result.issues if issue.code.startswith("E_")]
    assert codes == ["E_DECODER_CRASHED", "E_TIMEOUT", "E_OUT_OF_MEMORY"]
    here = replace(options, read=ReadOptions())
    (alone,) = segment_cases(hostile[:1], tmp_path / "here", here)
    for name in alone.files:
        assert (tmp_path / "out" / "good-1" / name).read_bytes() == (tmp_path / "here" / "good-1" / name).read_bytes()


def test_check_says_that_the_decoder_crashed(hostile):
    done = CliRunner().invoke(app, ["check", str(hostile[1])], prog_name="lungseg3d")
    assert done.exit_code == 3
    assert "E_DECODER_CRASHED: crash: its decoder crashed (killed by SIGSEGV); nothing else did." in done.output


def test_reading_in_process_is_an_option_of_every_verb_that_reads_foreign_files():
    for verb in ("segment", "batch", "check", "convert", "follow-up", "explain", "prepare folder"):
        said = CliRunner().invoke(app, [*verb.split(), "--help"], prog_name="lungseg3d", env={"COLUMNS": "160"})
        assert "in-process" in said.output, verb


def test_a_record_has_no_word_of_where_it_was_read(bundles):
    options = SegmentOptions(lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)
    apart = replace(options, read=ReadOptions(decode="apart"))
    assert identity_of(apart, 1).sha256 == identity_of(options, 1).sha256
    assert "decode" not in str(identity_of(apart, 1).facts)
