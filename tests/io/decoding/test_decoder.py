"""Reading apart gives what reading here gives; a file that crashes, hangs or fills its decoder costs only itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from lungseg3d.core import IntakeError, LungSegError, Volume
from lungseg3d.io import (
    ReadOptions,
    begin_decoding,
    inspect,
    open_ct,
    read_labels,
    write_dicom_series,
    write_labels,
    write_volume,
)
from lungseg3d.io.decoding import client as decoder_module
from lungseg3d.io.decoding.client import DecodingLimits, DecodingProcess
from lungseg3d.io.decoding.process_limits import ending_of
from tests.support.hostile_codec import compress, plant_codec

GIB = 2**30


@pytest.fixture(scope="module")
def ct() -> Volume:
    hu = np.random.default_rng(3).integers(-1000, 400, (40, 36, 12)).astype(np.int16)
    hu[:, :6] = -1000
    return Volume(hu, np.diag([1.5, 1.5, 2.5, 1.0]))


@pytest.fixture(scope="module")
def files(ct, tmp_path_factory) -> Path:
    """A CT in several formats, a label map, broken files, and series whose codec misbehaves."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("plain", "packed", "crash", "hang", "abort", "memory", "gap"):
        write_dicom_series(folder / name, ct)
    compress(folder / "packed")
    for name in ("crash", "hang", "abort", "memory"):
        compress(folder / name, name.upper())
    next((folder / "gap").glob("*0005*")).unlink()
    write_volume(folder / "ct.nii.gz", ct)
    image = SimpleITK.GetImageFromArray(ct.array.transpose(2, 1, 0))
    for ending in (".nrrd", ".mha"):
        SimpleITK.WriteImage(image, str(folder / f"ct{ending}"), useCompression=True)
    write_labels(folder / "label.nii.gz", ct.with_array((ct.array > 0).astype(np.uint8)))
    (folder / "cut.nii.gz").write_bytes((folder / "ct.nii.gz").read_bytes()[:-900])
    return folder


@pytest.fixture(scope="module")
def decoder(tmp_path_factory) -> Iterator[DecodingProcess]:
    patch = pytest.MonkeyPatch()
    before = os.environ.get("PYTHONPATH", "")
    patch.setenv("PYTHONPATH", os.pathsep.join([plant_codec(tmp_path_factory.mktemp("codec")), before]))
    made = DecodingProcess(DecodingLimits(time_s=60.0, memory_bytes=GIB))
    patch.setattr(decoder_module, "_decoders", {os.getpid(): made})
    yield made
    made.end()
    patch.undo()


@pytest.mark.parametrize("name", ["plain", "packed", "ct.nii.gz", "ct.nrrd", "ct.mha"])
def test_a_ct_read_apart_is_the_ct_read_here(decoder, files, name):
    here, apart = open_ct(files / name), open_ct(files / name, ReadOptions(decode="apart"))
    assert apart.volume.array.dtype == here.volume.array.dtype == np.int16
    assert np.array_equal(apart.volume.array, here.volume.array)
    assert apart.volume.array.strides == here.volume.array.strides
    assert np.array_equal(apart.volume.affine, here.volume.affine)
    assert (apart.source, apart.issues, apart.files) == (here.source, here.issues, here.files)


def test_voxels_come_in_shared_memory_and_may_be_changed(decoder, files):
    array = open_ct(files / "plain", ReadOptions(decode="apart")).volume.array
    assert not array.flags.owndata
    array += 1
    assert np.array_equal(array - 1, open_ct(files / "plain").volume.array)


def test_labels_and_findings_come_as_they_are_here(decoder, files):
    options = ReadOptions(decode="apart")
    here, apart = read_labels(files / "label.nii.gz"), read_labels(files / "label.nii.gz", options)
    assert apart.array.dtype == np.uint8
    assert np.array_equal(apart.array, here.array)
    for name in ("plain", "gap", "cut.nii.gz"):
        assert inspect(files / name, options) == inspect(files / name)


def test_a_path_starts_from_the_callers_folder(decoder, files, monkeypatch):
    monkeypatch.chdir(files)
    assert open_ct("ct.nii.gz", ReadOptions(decode="apart")).files == (Path("ct.nii.gz"),)


def test_a_refusal_is_the_same_refusal(decoder, files):
    said = []
    for options in (ReadOptions(), ReadOptions(decode="apart")):
        for name in ("gap", "cut.nii.gz", "nothing"):
            with pytest.raises(IntakeError) as caught:
                open_ct(files / name, options)
            said.append((caught.value.code, caught.value.message, caught.value.remedy))
    assert said[:3] == said[3:]
    assert said[0][0] == "E_MISSING_SLICES"


@pytest.mark.parametrize(
    ("name", "code", "kind", "words"),
    [
        (
            "crash",
            "E_DECODER_CRASHED",
            IntakeError,
            "crash: its decoder crashed (killed by SIGSEGV)",
        ),
        ("hang", "E_TIMEOUT", IntakeError, "hang: reading it had no end after 2 s (killed by SIGALRM)."),
        ("memory", "E_OUT_OF_MEMORY", LungSegError, "memory: reading it takes more than 1.0 GiB of memory (refused)."),
        ("abort", "E_OUT_OF_MEMORY", LungSegError, "more than 1.0 GiB of memory (killed by SIGABRT)"),
    ],
)
def test_a_file_that_its_decoder_dies_of_is_refused_and_the_next_one_is_read(
    decoder, files, ct, monkeypatch, name, code, kind, words
):
    if name == "hang":
        monkeypatch.setattr(decoder, "limits", replace(decoder.limits, time_s=2.0))
    with pytest.raises(kind) as caught:
        open_ct(files / name, ReadOptions(decode="apart"))
    assert caught.value.code == code
    assert words in caught.value.message
    assert np.array_equal(open_ct(files / "packed", ReadOptions(decode="apart")).volume.as_ras().array, ct.array)


def test_a_bomb_of_zeros_is_refused_by_its_memory(decoder, tmp_path, monkeypatch):
    """250 MB of voxels in 1 MB: below what any header check can refuse, so the limit of memory must."""
    write_volume(tmp_path / "bomb.nii.gz", Volume(np.zeros((500, 500, 500), np.int16), np.eye(4)))
    assert (tmp_path / "bomb.nii.gz").stat().st_size < 2**21
    monkeypatch.setattr(decoder, "limits", DecodingLimits(60.0, 2**27))
    with pytest.raises(LungSegError) as caught:
        open_ct(tmp_path / "bomb.nii.gz", ReadOptions(decode="apart"))
    assert caught.value.code == "E_OUT_OF_MEMORY"


def test_voxels_that_find_no_room_here_are_a_want_of_memory_and_no_crash(decoder, files, monkeypatch):
    def full(*_):
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(decoder_module.mmap, "mmap", full)
        with pytest.raises(MemoryError):
            open_ct(files / "plain", ReadOptions(decode="apart"))
    assert open_ct(files / "plain", ReadOptions(decode="apart")).volume.shape == (40, 36, 12)


def test_a_decoder_that_somebody_killed_between_two_files_is_started_again(decoder, files, ct):
    options = ReadOptions(decode="apart")
    open_ct(files / "plain", options)
    os.kill(decoder._child.pid, signal.SIGKILL)
    decoder._child.wait()
    assert np.array_equal(open_ct(files / "plain", options).volume.as_ras().array, ct.array)


def test_threads_share_one_decoder_and_get_their_own_files(decoder, files):
    names, found = ["ct.nii.gz", "plain", "packed"] * 4, {}

    def read(number: int) -> None:
        found[number] = open_ct(files / names[number], ReadOptions(decode="apart")).volume.array.sum()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: open_ct(files / name).volume.array.sum() for number, name in enumerate(names)}


_ORPHAN = """
import os, signal, sys, threading, time
from pathlib import Path
from lungseg3d.io import ReadOptions, open_ct
from lungseg3d.io.decoding import client
own = client._own()
own.start()
print(own._child.pid, flush=True)
open_ct(Path(sys.argv[1]), ReadOptions(decode="apart"))
"""


def test_nobody_decodes_on_for_a_process_that_was_killed(files, tmp_path):
    path = os.pathsep.join([plant_codec(tmp_path), str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-c", _ORPHAN, str(files / "plain")]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        child = int(program.stdout.readline())
        program.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and Path(f"/proc/{child}").exists() and not _is_zombie(child):
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists() or _is_zombie(child)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_where_files_are_decoded_changes_nothing_that_a_result_is_known_by():
    assert ReadOptions(decode="apart") == ReadOptions()


@pytest.mark.parametrize(
    ("exit_code", "log", "code", "how"),
    [
        (-11, "", "E_WORKER_LOST", "killed by SIGSEGV"),
        (-14, "", "E_TIMEOUT", "killed by SIGALRM"),
        (-6, "what(): std::bad_alloc", "E_OUT_OF_MEMORY", "killed by SIGABRT"),
        (1, "MemoryError", "E_OUT_OF_MEMORY", "exit code 1"),
        (3, "", "E_WORKER_LOST", "exit code 3"),
    ],
)
def test_an_ending_is_said_by_its_signal_and_its_log(exit_code, log, code, how):
    ending = ending_of(exit_code, log, kills_before=0 if "MemoryError" in log else 2**62)
    assert (ending.code, ending.how) == (code, how)


APART = ReadOptions(decode="apart")


def test_a_ct_whose_reading_was_begun_is_not_read_again(decoder, files, ct, tmp_path):
    shutil.copy(files / "ct.nii.gz", tmp_path)
    source = tmp_path / "ct.nii.gz"
    begin_decoding(source, APART)
    futures.wait(decoder._begun.values())
    source.unlink()
    assert np.array_equal(open_ct(source, APART).volume.array, ct.array)
    with pytest.raises(IntakeError, match="E_NOT_FOUND"):
        open_ct(source, APART)


def test_what_was_begun_in_other_words_is_read_as_asked(decoder, files):
    begin_decoding(files / "gap", APART)
    assert open_ct(files / "gap", replace(APART, allow_gaps=True)).volume.shape == (40, 36, 12)
    with pytest.raises(IntakeError, match="E_MISSING_SLICES"):
        open_ct(files / "gap", APART)


def test_a_begun_reading_that_hangs_ends_with_the_program(files, decoder):
    own = DecodingProcess(DecodingLimits(time_s=600.0, memory_bytes=GIB))
    own.begin("open_ct", files / "hang", APART)
    time.sleep(3.0)
    began = time.perf_counter()
    own.end()
    assert time.perf_counter() - began < 30
