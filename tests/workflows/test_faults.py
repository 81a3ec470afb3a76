"""Whatever call of the disk fails: exit code and one line say so, and what was there before is still there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import OutputError, Volume
from lungseg3d.io import pin_weights, write_dicom_series, write_labels, write_volume
from lungseg3d.workflows.segment import case as segment_case
from lungseg3d.workflows.segment import cases as segment
from lungseg3d.workflows.segment import results as segment_results
from lungseg3d.workflows.segment.checks import Checked
from lungseg3d.workflows.segment.models import open_models
from lungseg3d.workflows.segment.options import SegmentOptions
from lungseg3d.workflows.train.bundle import write_trained_bundle
from lungseg3d.workflows.train.checks import training_configuration
from tests.support.faults import ERRORS, KINDS, Fault, failing, tree
from tests.support.small_data import BUNDLES, NODULES, crops_overrides, small_crops, write_manifest


@dataclass(frozen=True)
class Verb:
    """A verb with a small case: how it is run, where it writes, and whether all of its files change together."""

    run: Callable[[], tuple[int, str]]
    out: Path
    together: bool = True


def program(*words: object) -> Callable[[], tuple[int, str]]:
    def run() -> tuple[int, str]:
        done = CliRunner().invoke(app, [str(word) for word in words], prog_name="lungseg3d")
        return done.exit_code, done.output

    return run


def function(call: Callable[[], object]) -> Callable[[], tuple[int, str]]:
    def run() -> tuple[int, str]:
        try:
            call()
        except OutputError as error:
            return 3, str(error)
        return 0, ""

    return run


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A CT as DICOM and NIfTI, crops with labels and predictions of them, marks of a challenge."""
    folder = tmp_path_factory.mktemp("small")
    hu = np.full((24, 20, 56), -850, np.int16)
    hu[4:9, 5:9, 20:30] = 40
    write_dicom_series(folder / "series", Volume(hu, np.diag([1.5, 1.5, 2.5, 1.0])))
    small_crops(folder)
    cases = [{"case_id": "crop-0", "patient": "p", "files": {"image": "image-0.nii.gz", "label": "label-0.nii.gz"}}]
    write_manifest(folder / "one.json", cases)
    text = (folder / "one.json").read_text()
    (folder / "one.json").write_text(text[:-1] + ', "structures": {"1": "nodule"}}')
    (folder / "predictions").mkdir()
    ball = Volume(np.zeros((24, 24, 24), np.uint8), np.eye(4))
    ball.array[8:16, 8:16, 8:16] = 3
    write_labels(folder / "predictions" / "crop-0.nii.gz", ball)
    for part in ("images", "labels"):
        (folder / "set" / part).mkdir(parents=True)
    shutil.copy(folder / "image-0.nii.gz", folder / "set" / "images" / "a.nii.gz")
    shutil.copy(folder / "label-0.nii.gz", folder / "set" / "labels" / "a.nii.gz")
    head = "seriesuid,coordX,coordY,coordZ,"
    for name, content in {
        "annotations": head + "diameter_mm\na,0,0,0,8\n",
        "excluded": head + "diameter_mm\n",
        "scans": "seriesuid\na\n",
        "candidates": head + "probability\na,1,0,0,0.9\n",
    }.items():
        (folder / f"{name}.csv").write_text(content)
    return folder


@pytest.fixture(scope="module")
def verb_of(small, chest, bundles, tmp_path_factory) -> Callable[..., Verb]:
    ct = tmp_path_factory.mktemp("chest") / "chest.nii.gz"
    write_volume(ct, chest.ct)
    options = SegmentOptions(device="cpu", precision="fp32", lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)
    patch = pytest.MonkeyPatch()
    opened: list[object] = []
    found: list[object] = []

    def once(made: list[object], call: Callable[..., object]) -> Callable[..., object]:
        """The networks see the chest once: what is tested here is the disk."""

        def given(*arguments: object) -> object:
            if not made:
                made.append(call(*arguments))
            return made[0]

        return given

    patch.setattr(segment, "open_models", once(opened, lambda _: open_models(options)))
    patch.setattr(segment_case, "run_networks", once(found, segment_case.run_networks))
    patch.setattr(segment_results, "check_segmented", lambda *_: Checked())

    def make(name: str, out: Path | None = None) -> Verb:
        out = out or tmp_path_factory.mktemp(name)
        if name == "segment":
            return Verb(program("segment", ct, "--out", out, "--overwrite"), out)
        if name.startswith("convert"):
            ending = name.removeprefix("convert ")
            # One file: when only the folder above it could not be synced, it is the new one, whole.
            return Verb(program("convert", small / "series", out / f"ct{ending}", "--overwrite"), out, together=False)
        if name == "froc":
            files = [
                word
                for part in ("annotations", "excluded", "scans", "candidates")
                for word in (f"--{part}", small / f"{part}.csv")
            ]
            return Verb(program("froc", *files, "--out", out), out)
        if name == "evaluate":
            words = ["--manifest", small / "one.json", "--predictions", small / "predictions", "--no-pictures"]
            return Verb(program("evaluate", *words, "--out", out), out)
        if name == "prepare":
            return Verb(program("prepare", "folder", small / "set", out), out, together=False)
        configs = [BUNDLES / NODULES / "configs" / "train.json"]
        parser = training_configuration(configs, BUNDLES / NODULES, crops_overrides(small), output_dir=str(out))
        weights = BUNDLES / NODULES / "models" / "model.pt"
        made = lambda: write_trained_bundle(BUNDLES / NODULES, parser, weights, out / "bundle", "train it")  # noqa: E731
        return Verb(function(made), out)

    yield make
    patch.undo()


def age(out: Path) -> dict[str, bytes]:
    """Make every file an old one, to be told from what comes."""
    for path in out.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(b"old " + path.name.encode())
    return tree(out)


def check(verb: Verb, fault: Fault, old: dict[str, bytes], new: dict[str, bytes]) -> bool:
    """One run on a failing disk; False where there was no such call."""
    with failing(fault):
        code, said = verb.run()
    found = tree(verb.out)
    if not fault.happened:
        assert code == 0, said
        return False
    place = f"{fault.kind} {fault.nth}: exit {code}, {said}"
    assert code not in (0, 1, 2), place
    assert sum("E_NO_SPACE" in line or "E_WRITE" in line for line in said.splitlines()) == 1, place
    assert "Traceback" not in said, place
    assert not [name for name in found if ".writing-" in name], place
    if verb.together:
        assert found == old, place
    else:
        assert all(found[name] in (old.get(name), new.get(name)) for name in found), place
        assert set(old) <= set(found), place
    return True


VERBS = ["segment", "convert .nii.gz", "convert .nrrd", "froc", "evaluate", "prepare", "trained bundle"]


def run_all(verb: Verb, kind: str, step: int, errors: tuple[int, ...]) -> int:
    """Every `step`-th call of a kind, each with the next of the errors; how many failed."""
    code, said = verb.run()
    assert code == 0, said
    new = tree(verb.out)
    for number in range(200):
        old = age(verb.out)
        if not check(verb, Fault(kind, number * step, errors[number % len(errors)]), old, new):
            return number
    pytest.fail("no end of calls")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["convert .nii.gz", "froc", "prepare"])
def test_a_disk_that_fails_once_is_said_and_costs_no_old_result(verb_of, name, kind):
    if kind == "rename" and name.startswith("convert"):
        pytest.skip("one file has one rename, which the slow test looks at")
    assert run_all(verb_of(name), kind, 2, ERRORS) >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_segment_on_a_disk_that_fails_keeps_the_old_case(verb_of, kind):
    assert run_all(verb_of("segment"), kind, 4, ERRORS) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", VERBS)
def test_every_single_call_with_every_error(verb_of, name, kind, error):
    if kind == "write" and name == "convert .nrrd":
        pytest.skip("ITK writes by itself; a real full disk is tested below")
    assert run_all(verb_of(name), kind, 1, (error,)) >= 1


@pytest.fixture
def tiny_disk(tmp_path):
    """A real file system of 300 kB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tmpfs of 300 kB takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_real_full_disk_is_said_and_leaves_nothing(tiny_disk, tmp_path, ending):
    noise = np.random.default_rng(0).integers(-1000, 900, (64, 64, 50)).astype(np.int16)  # 400 kB, and stays so
    noise[:2] = 40
    write_volume(tmp_path / "ct.nii.gz", Volume(noise, np.diag([5.0, 5.0, 5.0, 1.0])))
    code, said = program("convert", tmp_path / "ct.nii.gz", tiny_disk / f"out{ending}")()
    assert code == 3, said
    assert ("E_NO_SPACE" if ending.startswith(".nii") else "E_WRITE") in said
    assert list(tiny_disk.iterdir()) == []


def test_segment_into_a_full_disk_fails_the_case_and_keeps_its_old_results(tiny_disk, verb_of):
    (tiny_disk / "chest").mkdir()
    for name in ("result.json", "labels.nii.gz", "notes.txt"):
        (tiny_disk / "chest" / name).write_text(f"old {name}")
    (tiny_disk / "filler").write_bytes(b"x" * 270_000)
    before = tree(tiny_disk)
    code, said = verb_of("segment", tiny_disk).run()
    assert code == 3, said
    assert "E_NO_SPACE" in said
    assert tree(tiny_disk) == before


def test_an_output_folder_that_cannot_be_written_stops_before_any_work(small, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(segment, "open_models", lambda _: pytest.fail("work was begun"))
    code, said = program("segment", small / "series", "--out", tmp_path / "file")()
    assert code == 3
    assert said.startswith("E_WRITE")


def test_pinning_on_a_failing_disk_keeps_the_old_pins(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").write_bytes(b"one")
    pin_weights(tmp_path)
    old = tree(tmp_path)
    (tmp_path / "models" / "model.pt").write_bytes(b"two")
    with failing(Fault("fsync", 0, ERRORS[0])), pytest.raises(OutputError, match="E_NO_SPACE"):
        pin_weights(tmp_path)
    assert tree(tmp_path)["models/SHA256SUMS"] == old["models/SHA256SUMS"]
