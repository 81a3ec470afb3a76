"""A bundle of somebody else, given to every verb in every spelling: refused, and nothing of it has been evaluated.

Each test looks for a file that the bundle makes when it is evaluated, after seeing that the file is made where the
check is off. Processes are stood in for by what they run; real ones are in the slow tests at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from monai.bundle import ComponentLocator
from typer.testing import CliRunner

from lungseg3d.cli import app
from lungseg3d.core import BundleError, Volume
from lungseg3d.data import read_training_record
from lungseg3d.inference import open_bundle
from lungseg3d.io import trusting_bundles, write_volume
from lungseg3d.workflows import demo as demo_module
from lungseg3d.workflows import doctor as doctor_module
from lungseg3d.workflows import pin as pin_module
from lungseg3d.workflows.batch.plan import Selection
from lungseg3d.workflows.batch.run import batch
from lungseg3d.workflows.batch_state.case import CaseSegmenter
from lungseg3d.workflows.batch_state.records import BatchOptions
from lungseg3d.workflows.compare import budget as compare_budget
from lungseg3d.workflows.compare import run as compare_module
from lungseg3d.workflows.compare.measures import measure_member
from lungseg3d.workflows.compare.plan import Choices
from lungseg3d.workflows.explain import network_layers
from lungseg3d.workflows.segment import models as segment_models
from lungseg3d.workflows.segment.cases import segment_cases
from lungseg3d.workflows.segment.options import SegmentOptions
from lungseg3d.workflows.train import checks as training_checks
from lungseg3d.workflows.train import process as training_process
from lungseg3d.workflows.train import run as train_module
from tests.io.bundle.test_scan import HOSTILE
from tests.support.hostile_bundles import HARMS, make_hostile

# Hostile code leaves the files open that it makes.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

CPU = ("--device", "cpu", "--precision", "fp32")


@pytest.fixture(scope="module", autouse=True)
def _one_search_for_parts():
    """MONAI looks through all of its modules for every parser that names a part by its bare name."""
    with pytest.MonkeyPatch.context() as patch:
        locator = ComponentLocator()
        known = locator._find_classes_or_functions(locator._find_module_names())
        patch.setattr(ComponentLocator, "_find_classes_or_functions", lambda self, names: known)
        yield


@pytest.fixture
def place(bundles, tmp_path, monkeypatch) -> SimpleNamespace:
    """A bundle in a folder of its own, a CT, a home, and the file that must not come to be."""
    folder = tmp_path / "there"
    shutil.copytree(bundles.nodules, folder / "bundle")
    shutil.copytree(bundles.lungs, folder / "lungs")
    (folder / "bundle" / "configs" / "networks" / "plain.json").write_text("{}")  # an overlay that changes nothing
    (folder / "beside").mkdir()
    (folder / "link").symlink_to(folder, target_is_directory=True)
    hu = np.full((8, 8, 8), -900, np.int16)
    write_volume(tmp_path / "ct.nii.gz", Volume(hu, np.eye(4)))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    (tmp_path / "marks").mkdir()
    mark = tmp_path / "marks" / "made"
    return SimpleNamespace(
        root=folder / "bundle", folder=folder, ct=str(tmp_path / "ct.nii.gz"), mark=mark, out=tmp_path
    )


def spelled(spelling: str, name: str, folder: Path, monkeypatch) -> str:
    """A path of `folder/name` as somebody may write it, from the working directory that goes with it."""
    workdirs = {"../x": folder / "beside", "from elsewhere": folder.parent}
    workdirs |= {".": folder / name, "./. inside": folder / name}
    monkeypatch.chdir(workdirs.get(spelling, folder))
    return {
        "absolute": str(folder / name),
        "relative": name,
        "./x": f"./{name}",
        "x/": f"{name}/",
        "x/.": f"{name}/.",
        "../x": f"../{name}",
        "up and down": f"beside/../{name}",
        "~/x": f"~/{name}",
        "through a link": f"link/{name}",
        "from elsewhere": f"there/{name}",
        ".": ".",
        "./. inside": f"./../{name}/.",
    }[spelling]


SPELLINGS = [
    *("absolute", "relative", "./x", "x/", "x/.", "../x", "up and down", "~/x", "through a link", "from elsewhere"),
    *(".", "./. inside"),
]


def cli(*words: str) -> str:
    """Exit code and text of the program."""
    shown = CliRunner().invoke(app, list(words), catch_exceptions=True)
    return f"exit {shown.exit_code}\n{shown.output}"


def flags(trust: bool) -> tuple[str, ...]:
    return ("--trust-bundle",) if trust else ()


def asked(trust: bool, **bundles: Path) -> SegmentOptions:
    return SegmentOptions(device="cpu", precision="fp32", trust_bundle=trust, **bundles)


class Verb(NamedTuple):
    """One that evaluates a bundle: as Python has it, and as the command line has it, where it has.

    Both take the bundle as it is spelled, the place and whether the bundle is trusted.
    """

    call: Callable[[str, SimpleNamespace, bool], object]
    line: Callable[[str, SimpleNamespace, bool], list[str]] | None = None
    config: str = "inference"
    bundle: str = "bundle"


def named_inside(root: str, place: SimpleNamespace, trust: bool) -> None:
    """As the `lung_bundle_root` of another bundle, which is harmless."""
    path = place.folder / "outer" / "configs" / "inference.json"
    if not path.exists():
        for part in ("configs", "models"):
            shutil.copytree(place.root / part, place.folder / "outer" / part)
    content = json.loads(path.read_text())
    # A path that leads upwards, or is absolute, is refused where a configuration names it: there, whoever calls does.
    is_plain = not root.startswith(("/", "~")) and ".." not in root and not root.endswith(".")
    path.write_text(json.dumps(content | ({"lung_bundle_root": root} if is_plain else {})))
    with trusting_bundles(trust):
        open_bundle(place.folder / "outer", skip=1, **({} if is_plain else {"lung_bundle_root": root}))


def task(root: str, place: SimpleNamespace, trust: bool) -> dict:
    root = os.path.expanduser(root)
    config = Path(root, "configs", "train.json").absolute()
    settings = {"overrides": {}, "fold": 0, "weights": "none.pt", "trust_bundle": trust}
    return settings | {"bundle": root, "configs": [str(config)], "folder": str(place.out)}


def to(verb: str, place: SimpleNamespace, root: str, trust: bool, *more: str) -> list[str]:
    return [verb, root, "--out", f"{place.out}/o", *more, *flags(trust)]


def batch_by(engine: str) -> Verb:
    def call(root: str, place: SimpleNamespace, trust: bool) -> None:
        options = BatchOptions(asked(trust, nodule_bundle=Path(root)), engine=engine)
        batch(Selection(place.ct), place.out / "o", options)

    return Verb(call, lambda r, p, t: to("batch", p, p.ct, t, "--nodule-bundle", r, "--engine", engine, *CPU))


VERBS = {
    "segment": Verb(
        lambda r, p, t: segment_cases([p.ct], p.out / "o", asked(t, nodule_bundle=Path(r))),
        lambda r, p, t: to("segment", p, p.ct, t, f"--nodule-bundle={r}", *CPU),
    ),
    "segment, lungs": Verb(
        lambda r, p, t: segment_cases([p.ct], p.out / "o", asked(t, nodule_bundle=p.root, lung_bundle=Path(r))),
        lambda r, p, t: to("segment", p, p.ct, t, f"--lung-bundle={r}", f"--nodule-bundle={p.root}", *CPU),
        bundle="lungs",
    ),
    "batch": batch_by("local"),
    "batch on Ray": batch_by("ray"),
    "a worker of a batch": Verb(lambda r, p, t: CaseSegmenter(asked(t, nodule_bundle=Path(r))).open()),
    "explain": Verb(
        lambda r, p, t: network_layers(asked(t, nodule_bundle=Path(r))),
        lambda r, p, t: ["explain", "--list-layers", "--nodule-bundle", r, "--device", "cpu", *flags(t)],
    ),
    "named inside": Verb(named_inside, bundle="lungs"),
    "train": Verb(
        lambda r, p, t: train_module.train(r, fold=0, out=p.out / "o", trust=t),
        lambda r, p, t: to("train", p, r, t, "--fold", "0"),
        "train",
    ),
    "compare": Verb(
        lambda r, p, t: compare_module.compare(Choices(Path(r), ("plain",), (0,), trust_bundle=t), p.out / "o"),
        lambda r, p, t: to("compare", p, r, t, "--networks", "plain", "--folds", "0"),
        "train",
    ),
    "compare, a measurement": Verb(lambda r, p, t: measure_member(task(r, p, t)), config="train"),
    "compare, a time": Verb(lambda r, p, t: compare_budget.step_s(task(r, p, t)), config="train"),
}


@pytest.fixture
def stubs(monkeypatch) -> None:
    """Bundles are opened and trainings begun as ever; what comes afterwards is left out, and processes run here."""

    def begun(given: bytes) -> None:
        monkeypatch.setattr(training_process, "hold_weights", lambda parser: None)
        monkeypatch.setattr(training_process._Workflow, "initialize", lambda self: None)
        monkeypatch.setattr(training_process._Workflow, "run", lambda self: self.parser.get_parsed_content("network"))
        monkeypatch.setattr(training_process._Workflow, "finalize", lambda self: None)
        training_process.train_from_task(given)

    def child(task, *_):
        begun(task)
        return 7

    def members(plan, *_):
        for member in plan.members:
            begun(member.task)
        raise BundleError("E_TEST", "it was trained")

    def pool(segmenter, options):
        segmenter.open()
        raise BundleError("E_TEST", "the models were opened")

    monkeypatch.setattr("lungseg3d.workflows.batch.run._pool", pool)
    monkeypatch.setattr("lungseg3d.workflows.segment.cases.segment_line", lambda jobs, *_, **__: [])
    monkeypatch.setattr(train_module, "run_training", child)
    monkeypatch.setattr(compare_module, "run_members", members)
    monkeypatch.setattr(compare_module, "open_parent", lambda plan: None)
    monkeypatch.setattr(training_checks, "check_training", lambda parser, root: None)
    monkeypatch.setattr("lungseg3d.workflows.compare.plan._manifests", lambda parser: {})
    monkeypatch.setattr(training_checks, "held_out", lambda parser: [])

    def short(*given, **more):
        parser = training_checks.training_configuration(*given, **more)
        parser["train#trainer"] = "@network"
        return parser

    monkeypatch.setattr(compare_budget, "training_configuration", short)


def evaluated(place: SimpleNamespace) -> bool:
    """Whether the file was made; it is removed."""
    made = place.mark.exists()
    if place.mark.is_dir():
        place.mark.rmdir()
    place.mark.unlink(missing_ok=True)
    return made


PAIRS = [(verb, spelling) for verb in VERBS for spelling in SPELLINGS]


@pytest.mark.parametrize(("verb", "spelling"), PAIRS, ids=[f"{verb}: {spelling}" for verb, spelling in PAIRS])
def test_every_verb_refuses_every_hostile_bundle_in_every_spelling(verb, spelling, place, stubs, monkeypatch):
    how = VERBS[verb]
    root = place.folder / how.bundle
    path = root / "configs" / f"{how.config}.json"
    harmless = path.read_text()
    given = spelled(spelling, root.name, place.folder, monkeypatch)
    # On the command line and with the check off, one of them: another one for each verb and spelling.
    chosen = list(HARMS)[PAIRS.index((verb, spelling)) % len(HARMS)]

    make_hostile(root, how.config, chosen, place.mark)
    with contextlib.suppress(Exception):  # what came of it afterwards is not asked
        how.call(given, place, True)
    assert evaluated(place), f"{chosen} makes no file with the check off, so that its absence proves nothing"

    for harm in HARMS:
        path.write_text(harmless)
        make_hostile(root, how.config, harm, place.mark)
        with pytest.raises(BundleError, match="E_UNTRUSTED_CONFIG") as caught:
            how.call(given, place, False)
        assert not evaluated(place), f"{harm} was evaluated"
        assert f"configs/{how.config}.json" in caught.value.message
        if how.line is not None and harm == chosen:
            said = cli(*how.line(given, place, False))
            assert not evaluated(place)
            assert said.startswith("exit 3"), said
            assert "E_UNTRUSTED_CONFIG" in said


@pytest.mark.parametrize("verb", [name for name, how in VERBS.items() if how.bundle == "bundle"])
def test_every_verb_refuses_what_the_scan_of_bundles_refuses(verb, place, stubs, monkeypatch):
    """Also code, links, YAML, logging and metadata beside the configuration that the verb evaluates."""
    how = VERBS[verb]
    kept = shutil.copytree(place.root, place.folder / "kept", symlinks=True)
    given = spelled("relative", "bundle", place.folder, monkeypatch)
    for what, (_, harm) in HOSTILE.items():
        shutil.rmtree(place.root)
        shutil.copytree(kept, place.root, symlinks=True)
        harm(place.root)
        if how.config == "train":
            shutil.copy(place.root / "configs" / "inference.json", place.root / "configs" / "train.json")
        before = sorted(place.folder.rglob("*"))
        with pytest.raises(BundleError) as caught:
            how.call(given, place, False)
        assert caught.value.code == "E_UNTRUSTED_CONFIG", what
        assert sorted(place.folder.rglob("*")) == before, what


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("verb", ["a worker of a batch", "train"])
def test_every_hostile_bundle_makes_its_file_where_the_check_is_off(verb, harm, place, stubs):
    how = VERBS[verb]
    make_hostile(place.root, how.config, harm, place.mark)
    how.call(str(place.root), place, True)
    assert evaluated(place)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("spelling", ["~/x", "through a link", "."])
def test_a_harmless_bundle_passes(verb, spelling, place, stubs, monkeypatch):
    given = spelled(spelling, VERBS[verb].bundle, place.folder, monkeypatch)
    said = ""
    try:
        VERBS[verb].call(given, place, False)
    except Exception as error:  # data or weights that are not there: behind the door
        said = str(error)
    assert not re.search("E_UNTRUSTED_CONFIG|E_NO_BUNDLE|E_CONFIGURATION", said)


@pytest.mark.parametrize("verb", ["demo", "doctor", "segment", "follow-up"])
def test_verbs_that_open_the_shipped_bundles_check_these_too(verb, place, stubs, monkeypatch):
    words = {
        "demo": ["--out", f"{place.out}/d", "--no-open"],
        "doctor": ["--seconds", "0.1"],
        "segment": [place.ct, "--out", f"{place.out}/p", "--profile", *CPU],
        "follow-up": [place.ct, place.ct, "--out", f"{place.out}/f", *CPU],
    }
    make_hostile(place.root, "inference", "an expression", place.mark)
    for module in (segment_models, doctor_module):
        monkeypatch.setattr(module, "shipped_bundle", lambda name: place.root)
    monkeypatch.setattr(demo_module, "make_phantom", lambda spec: SimpleNamespace(ct=None))
    monkeypatch.setattr(demo_module, "write_dicom_series", lambda *_, **__: None)
    assert "E_UNTRUSTED_CONFIG" in cli(verb, *words[verb])
    assert not evaluated(place)


@pytest.mark.parametrize("spelling", ["~/x", "../x", "."])
def test_verbs_that_only_read_a_bundle_evaluate_nothing_of_it(spelling, place, monkeypatch):
    for config in ("inference", "train"):
        make_hostile(place.root, config, "an expression", place.mark)
    given = spelled(spelling, "bundle", place.folder, monkeypatch)
    evaluation = place.out / "evaluation"
    evaluation.mkdir()
    rows = "".join(f"c{n},p{n},found,0.{n + 1}\nc{n},p{n},false,0.{n}1\n" for n in range(9))
    (evaluation / "nodules.csv").write_text("case_id,patient,outcome,confidence\n" + rows)
    (evaluation / "summary.json").write_text('{"manifest": "m"}')
    assert cli("calibrate", str(evaluation), "--bundle", given).startswith("exit 0")
    assert (place.root / "configs" / "calibration.json").is_file()
    pin_module.pin([given])
    assert read_training_record(place.root) is not None
    assert not evaluated(place)
