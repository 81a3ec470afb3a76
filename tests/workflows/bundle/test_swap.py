"""A bundle that is exchanged while it is opened, and other ways around the door."""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from lungseg3d.core import BundleError, Volume
from lungseg3d.inference import bundle as bundle_module
from lungseg3d.inference import open_bundle
from lungseg3d.io import check_bundle, check_override, pin_weights, trusting_bundles, write_volume
from lungseg3d.io.bundle import weights as weight_module
from lungseg3d.workflows.batch.plan import Selection
from lungseg3d.workflows.batch.pool import Limits
from lungseg3d.workflows.batch.run import batch
from lungseg3d.workflows.batch.worker import Worker
from lungseg3d.workflows.batch_state.case import CaseSegmenter
from lungseg3d.workflows.batch_state.records import BatchOptions
from lungseg3d.workflows.segment.options import SegmentOptions
from lungseg3d.workflows.train import checks as training_checks
from lungseg3d.workflows.train import process as training_process
from lungseg3d.workflows.train.checks import configuration_of, hold_weights, training_configuration
from tests.support.hostile_bundles import make_hostile

# Hostile code leaves the files open that it makes.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

REPOSITORY = Path(__file__).resolve().parents[3]
INFERENCE = "configs/inference.json"


@pytest.fixture
def root(bundles, tmp_path) -> Path:
    """A bundle of one's own that is well."""
    return Path(shutil.copytree(bundles.nodules, tmp_path / "there" / "bundle"))


@pytest.fixture
def mark(tmp_path) -> Path:
    """The file that must not come to be."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks" / "made"


def hostile_copy(root: Path, mark: Path) -> Path:
    other = Path(shutil.copytree(root, root.with_name("hostile")))
    for config in ("inference", "train"):
        make_hostile(other, config, "an expression", mark)
    return other


@contextlib.contextmanager
def swapping(root: Path, other: Path, opening: int):
    """The folder `other` under the name `root` from the given opening of a file in it on; gives how many there were."""
    seen = [0]

    def watched(opens: Callable) -> Callable:
        def opened(path, *arguments, **more):
            if not isinstance(path, int) and str(root) in os.fspath(path):
                seen[0] += 1
                if seen[0] == opening:
                    os.rename(root, root.with_name("aside"))
                    os.rename(other, root)
            return opens(path, *arguments, **more)

        return opened

    with pytest.MonkeyPatch.context() as patch:
        for module in (builtins, io, os):
            patch.setattr(module, "open", watched(module.open))
        yield seen
    if seen[0] >= opening:
        os.rename(root, other)
        os.rename(root.with_name("aside"), root)


def open_it(root: Path) -> None:
    open_bundle(root, skip=1, roi="full")


def train_it(root: Path) -> None:
    checked = check_bundle(root, ["configs/train.json"])
    configuration_of(checked, {}, fold=0)
    task = training_process.training_task(checked, {}, 0, root)
    training_process.train_from_task(task)


@pytest.fixture
def short_training(monkeypatch):
    for name in ("initialize", "finalize"):
        monkeypatch.setattr(training_process._Workflow, name, lambda self: None)
    monkeypatch.setattr(training_process._Workflow, "run", lambda self: self.parser.get_parsed_content("network"))
    monkeypatch.setattr(training_process, "hold_weights", lambda parser: None)


def evaluated_at(work: Callable[[Path], None], root: Path, other: Path, mark: Path) -> list[int]:
    """The openings at which an exchange has led to an evaluation."""
    found = []
    for opening in range(1, 100):
        with swapping(root, other, opening) as seen, contextlib.suppress(BundleError):
            work(root)
        if mark.exists():
            mark.unlink()
            found.append(opening)
        if seen[0] < opening:
            assert opening > 2, "nothing was exchanged"
            return found
    raise AssertionError("it opens files for ever")


@pytest.mark.parametrize("work", [open_it, train_it])
def test_a_bundle_that_is_exchanged_at_any_moment_is_not_evaluated(work, root, mark, short_training, monkeypatch):
    other = hostile_copy(root, mark)
    assert evaluated_at(work, root, other, mark) == []

    def reading_again(checked):
        parser = ConfigParser()
        parser.read_config(str(checked.root / f"configs/{'inference' if work is open_it else 'train'}.json"))
        parser["bundle_root"] = str(checked.root)
        return parser

    for module in (bundle_module, training_checks):
        monkeypatch.setattr(module, "parser_of", reading_again)
    assert evaluated_at(work, root, other, mark) != [], "the path read again is what this is about"


def test_a_bundle_that_is_exchanged_between_batch_and_its_workers_is_refused_by_these(
    root, mark, tmp_path, monkeypatch
):
    write_volume(tmp_path / "ct.nii.gz", Volume(np.full((8, 8, 8), -900, np.int16), np.eye(4)))

    def pool(segmenter, options):
        make_hostile(root, "inference", "an expression", mark)
        return segmenter.open()

    monkeypatch.setattr("lungseg3d.workflows.batch.run._pool", pool)
    asked = SegmentOptions(device="cpu", precision="fp32", nodule_bundle=root)
    with pytest.raises(BundleError, match="E_UNTRUSTED_CONFIG"):
        batch(Selection(str(tmp_path / "ct.nii.gz")), tmp_path / "out", BatchOptions(asked))
    assert not mark.exists()


def test_a_worker_process_refuses_what_could_run_code(root, mark):
    make_hostile(root, "inference", "an expression", mark)
    asked = SegmentOptions(device="cpu", precision="fp32", nodule_bundle=root)
    worker = Worker(multiprocessing.get_context("fork"), CaseSegmenter(asked), Limits())
    try:
        said = []
        for _ in range(300):
            if said := worker.messages():
                break
            time.sleep(0.1)
    finally:
        worker.kill()
    assert [message[:2] for message in said] == [("broken", "E_UNTRUSTED_CONFIG")]
    assert not mark.exists()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_worker_processes_refuse_a_bundle_that_was_exchanged_after_the_check(engine, root, mark, tmp_path, monkeypatch):
    if engine == "ray":
        pytest.importorskip("ray")
        monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    from lungseg3d.workflows.batch import run as module

    write_volume(tmp_path / "ct.nii.gz", Volume(np.full((8, 8, 8), -900, np.int16), np.eye(4)))
    make = module._pool

    def pool(segmenter, options):
        make_hostile(root, "inference", "an expression", mark)
        return make(segmenter, options)

    monkeypatch.setattr(module, "_pool", pool)
    asked = SegmentOptions(device="cpu", precision="fp32", nodule_bundle=root)
    with pytest.raises(Exception, match="E_UNTRUSTED_CONFIG"):
        batch(Selection(str(tmp_path / "ct.nii.gz")), tmp_path / "out", BatchOptions(asked, workers=1, engine=engine))
    assert not mark.exists()


def test_weights_that_are_exchanged_while_they_are_opened_are_those_pinned_or_refused(root):
    known = torch.load(root / "models" / "model.pt", weights_only=True)
    other = Path(shutil.copytree(root, root.with_name("hostile")))
    torch.save({key: value + 1 for key, value in known.items()}, other / "models" / "model.pt")  # not pinned there
    for opening in range(1, 20):
        with swapping(root, other, opening) as seen:
            try:
                state = open_bundle(root, skip=1, roi="full").network.state_dict()
                assert all(torch.equal(state[key], known[key]) for key in known)
            except BundleError as error:
                assert error.code == "E_CHECKPOINT_HASH"  # noqa: PT017
        if seen[0] < opening:
            break
    assert opening > 3


def test_weights_to_start_a_training_from_are_the_bytes_that_were_checked(root, tmp_path):
    weights = tmp_path / "w.pt"
    torch.save({"a": torch.ones(2)}, weights)
    parser = ConfigParser({"h": {"_target_": "CheckpointLoader", "load_path": str(weights), "load_dict": {}}})
    hold_weights(parser)
    weights.write_bytes(b"others")
    held = parser["h"]["load_path"]
    assert torch.equal(torch.load(held, weights_only=True)["a"], torch.ones(2))
    assert str(held) == "<path>"
    weights.unlink()
    off = ConfigParser({"h": {"_target_": "CheckpointLoader", "load_path": str(weights), "_disabled_": True}})
    hold_weights(off)
    assert off["h"]["load_path"] == str(weights)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", "$__import__('os').mkdir('x')"),
        ("network_def::channels", "[4, '$open(1)']"),
        ("network_def", "{'_target_': 'os.mkdir', 'path': 'x'}"),
        ("network_def::_target_", "os.mkdir"),
        ("network_def", "%other.json::network_def"),
        ("network_def::_requires_", "$open('x', 'w')"),
        ("network_def::_mode_", "debug"),
    ],
)
def test_an_override_that_could_run_code_is_refused_unless_it_is_trusted(key, value, root):
    files = [root / "configs" / "train.json"]
    with pytest.raises(BundleError, match=f"E_UNTRUSTED_CONFIG: .*--set, {key}"):
        training_configuration(files, root, {key: value})
    with trusting_bundles():
        training_configuration(files, root, {key: value})


@pytest.mark.parametrize(
    "value", ["/data/set", "../set", "$int(3)", "[1, 2]", "http://127.0.0.1:5000/", "text", None, 2]
)
def test_an_override_that_only_sets_a_value_passes(value):
    assert complaint_about(value) == ""
    assert "os.mkdir" in complaint_about({"inside": [value, {"_target_": "os.mkdir"}]})


def complaint_about(value) -> str:
    """What `check_override` says of a value; nothing where it may be set."""
    try:
        check_override("dataset_dir", value)
    except BundleError as error:
        return str(error)
    return ""


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("code", "harm"),
    {
        "absent": ("E_NO_BUNDLE", Path.unlink),
        "of another case": ("E_NO_BUNDLE", lambda path: path.rename(path.with_name("INFERENCE.JSON"))),
        "a pipe": ("E_NO_BUNDLE", _fifo),
        "a folder": ("E_NO_BUNDLE", _folder),
        "in UTF-16": ("E_CONFIGURATION", lambda path: path.write_text(path.read_text(), encoding="utf-16")),
        "with a byte order mark": (
            "E_CONFIGURATION",
            lambda path: path.write_text(path.read_text(), encoding="utf-8-sig"),
        ),
        "no object": ("E_CONFIGURATION", lambda path: path.write_text("[1]")),
        "a key below one that is absent": (
            "E_CONFIGURATION",
            lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "nothing#here#at": 1})),
        ),
        "a link that leads out": (
            "E_UNTRUSTED_CONFIG",
            lambda path: (path.rename(path.parents[2] / "out.json"), path.symlink_to(path.parents[2] / "out.json")),
        ),
        "behind a folder that is a link": (
            "E_UNTRUSTED_CONFIG",
            lambda path: (
                path.parent.rename(path.parents[2] / "out"),
                path.parent.symlink_to(path.parents[2] / "out", target_is_directory=True),
            ),
        ),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_configuration_that_is_not_what_it_must_be_is_refused(code, harm, root):
    expected, change = harm
    change(root / INFERENCE)
    with pytest.raises(BundleError) as caught:
        open_bundle(root, skip=1, roi="full")
    assert caught.value.code == expected


def test_a_configuration_that_is_absent_is_not_clean(root, monkeypatch):
    (root / "configs" / "other.json").write_text("{}")
    check_bundle(root, [INFERENCE, "configs/other.json", root / "configs" / "other.json"])
    monkeypatch.chdir(root.parent)
    for named in ("configs/none.json", Path("bundle/configs/inference.json")):  # from the bundle, not from here
        with pytest.raises(BundleError, match="E_NO_BUNDLE"):
            check_bundle(Path("bundle"), [named])


@pytest.mark.parametrize(
    "name", ["configs/inference.json", "models/model.pt", "models/SHA256SUMS", "configs/metadata.json"]
)
def test_a_pipe_in_place_of_a_file_ends_and_does_not_wait(name, root, monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda path: os.path.lexists(path))  # as if exchanged just after it was seen
    _fifo(root / name)
    with pytest.raises(BundleError):
        open_bundle(root, skip=1, roi="full")


def test_weights_are_read_with_the_memory_that_they_take(root, monkeypatch):
    asked = []
    monkeypatch.setattr(weight_module, "read_once", lambda path, most: asked.append(most) or path.read_bytes())
    pin_weights(root)
    open_bundle(root, skip=1, roi="full")
    assert max(asked) == 8 * 2**30


PROGRAMS = {
    "the process that decodes files": "from lungseg3d.cli import main; main()",
    "the process that workers are forked from": (
        "from lungseg3d.workflows.batch.local import LocalPool; from lungseg3d.workflows.batch.pool import Limits;"
        " from tests.support.batch_stand_in import StandIn; import time; pool = LocalPool(StandIn(), Limits());"
        " pool.want(1);"
        " [pool.wait(0.2) for _ in range(200) if not pool.is_ready()]; print(pool.is_ready()); pool.end()"
    ),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_nothing_is_imported_from_the_folder_that_a_program_is_started_in(what, tmp_path):
    here = tmp_path / "bundle"
    here.mkdir()
    for module in ("numpy", "pydicom", "threading", "json"):
        (here / f"{module}.py").write_text(
            f"open({str(tmp_path / 'made')!r}, 'w'); raise SystemExit('{module} of here')"
        )
    write_volume(tmp_path / "ct.nii.gz", Volume(np.full((32, 32, 32), -900, np.int16), np.eye(4)))
    program = tmp_path / "program.py"
    program.write_text(f"if __name__ == '__main__':\n    {PROGRAMS[what].replace('; ', chr(10) + '    ')}\n")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("PYTHONSAFEPATH", None)
    words = [sys.executable, str(program), "check", str(tmp_path / "ct.nii.gz")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=here, env=environment, check=False)
    assert not (tmp_path / "made").exists(), done.stderr
    assert "of here" not in done.stderr
    assert "True" in done.stdout or "ct" in done.stdout
