"""Bundles of somebody else: what could run code is refused with file and key, and nothing has been run by then."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lungseg3d.core import BundleError
from lungseg3d.io import check_bundle, trusting_bundles
from lungseg3d.io.bundle.expressions import complaint_about_expression

BUNDLES = Path(__file__).resolve().parents[3] / "bundles"
NAMES = sorted(path.name for path in BUNDLES.iterdir() if path.is_dir())
INFERENCE = "configs/inference.json"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    shutil.copytree(BUNDLES / "lung_nodule_ct_segmentation" / "configs", tmp_path / "b" / "configs")
    return tmp_path / "b"


def change(bundle: Path, file: str = INFERENCE, **values: object) -> Path:
    content = json.loads((bundle / file).read_text())
    (bundle / file).write_text(json.dumps(content | values))
    return bundle


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_that_came_with_the_package_passes(name):
    root = BUNDLES / name
    configs = [path for path in root.glob("configs/**/*.json") if path.name != "training_cases.json"]
    assert len(configs) > 25
    check_bundle(root, configs)


OWNED = "open('owned', 'w')"
HOSTILE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "an expression that imports": ("device", lambda b: change(b, device=f"$__import__('os').system('touch {b}/x')")),
    "an expression that opens a file": ("precision", lambda b: change(b, precision=f"${OWNED}")),
    "an expression that climbs through attributes": ("roi", lambda b: change(b, roi="$@roi.__class__.__mro__")),
    "a target that is no part": (
        "spacing_mm",
        lambda b: change(b, spacing_mm={"_target_": "os.system", "command": "x"}),
    ),
    "a target that opens a shell": ("x::0::y", lambda b: change(b, x=[{"y": {"_target_": "subprocess.Popen"}}])),
    "a target by reference": ("network_def::_target_", lambda b: change(b, network_def={"_target_": "@roi"})),
    "a target by expression": ("q", lambda b: change(b, q={"_target_": "$eval", "source": "1"})),
    "a target under a path of keys": ("inferer#_target_", lambda b: change(b, **{"inferer#_target_": "builtins.exec"})),
    "a target that is merged in": ("+inferer", lambda b: change(b, **{"+inferer": {"_target_": "runpy.run_path"}})),
    "MONAI's reader of pickles": ("r", lambda b: change(b, r={"_target_": "LoadImaged", "keys": "image"})),
    "MONAI's writer": ("w", lambda b: change(b, w={"_target_": "monai.transforms.SaveImaged", "output_dir": "x"})),
    "a network that loads from the internet": (
        "n",
        lambda b: change(b, n={"_target_": "monai.networks.nets.TorchVisionFCModel", "pretrained": True}),
    ),
    "imports": ("imports", lambda b: change(b, imports=["$import os"])),
    "_requires_": (
        "inferer::_requires_",
        lambda b: change(b, inferer={"_target_": "SimpleInferer", "_requires_": "@x"}),
    ),
    "the debugger": ("inferer::_mode_", lambda b: change(b, inferer={"_target_": "SimpleInferer", "_mode_": "debug"})),
    "a macro of another file": ("m", lambda b: change(b, m="%/etc/other.json#network")),
    "a macro of a key": ("m", lambda b: change(b, m="%network_def")),
    "a run-id that runs something": ("run", lambda b: change(b, run=["$__import__('os').getcwd()"])),
    "an initialisation that runs something": ("initialize", lambda b: change(b, initialize=["$exec('x=1')"])),
    "a path upwards": ("output_dir", lambda b: change(b, output_dir="../../elsewhere")),
    "a path upwards in an expression": ("output_dir", lambda b: change(b, output_dir="$@bundle_root + '/../../x'")),
    "an absolute path": (
        "handlers",
        lambda b: change(b, handlers=[{"_target_": "MetricsSaver", "save_dir": "/tmp/x"}]),
    ),
    "an absolute path in an expression": ("p", lambda b: change(b, p="$'/etc/passwd'")),
    "a server that would be sent the cases": ("tracking_uri", lambda b: change(b, tracking_uri="http://x.example/")),
    "weights that need not fit": ("strict", lambda b: change(b, h={"_target_": "CheckpointLoader", "strict": False})),
    "an expression in the metadata": ("version", lambda b: change(b, "configs/metadata.json", version="$1+1")),
    "a target in the metadata": ("task", lambda b: change(b, "configs/metadata.json", task={"_target_": "os.getcwd"})),
    "a key that occurs twice": ("roi", lambda b: (b / INFERENCE).write_text('{"roi": "lungs", "roi": "$1"}')),
    "code beside the configuration": ("torch.py", lambda b: (b / "torch.py").write_text(OWNED)),
    "code in a folder": (
        "scripts/x.py",
        lambda b: ((b / "scripts").mkdir(), (b / "scripts" / "x.py").write_text(OWNED)),
    ),
    "YAML with a tag": (
        "inference.yaml",
        lambda b: (b / "configs/inference.yaml").write_text("!!python/name:os.system"),
    ),
    "a link that leads out": ("secret", lambda b: os.symlink("/etc/passwd", b / "configs" / "secret.json")),
    "logging that evaluates a class": (
        "[handler_x] class",
        lambda b: (b / "configs/logging.conf").write_text(f"[handler_x]\nclass={OWNED}\nargs=()\n"),
    ),
    "logging that evaluates arguments": (
        "[handler_x] args",
        lambda b: (b / "configs/logging.conf").write_text(f"[handler_x]\nclass=StreamHandler\nargs=({OWNED},)\n"),
    ),
    "logging to a file": (
        "[handler_x] class",
        lambda b: (b / "configs/logging.conf").write_text("[handler_x]\nclass=FileHandler\nargs=('x.log',)\n"),
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_bundle_is_refused_with_the_place_and_nothing_happens(bundle, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_bundle(bundle, [INFERENCE])  # as it came, it passes
    place, harm = HOSTILE[what]
    harm(bundle)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match="E_UNTRUSTED_CONFIG") as caught:
        check_bundle(bundle, [INFERENCE])
    assert place in caught.value.message
    assert "--trust-bundle" in caught.value.remedy
    assert sorted(tmp_path.rglob("*")) == before
    with trusting_bundles():
        check_bundle(bundle, [INFERENCE])


EXPRESSIONS = {
    "$().__class__",
    "$''.join(['a'])",
    "$'{0.__class__}'.format(1)",
    "$f'{1}'",
    "$[x for x in ().__class__.__bases__]",
    "$(lambda: 1)()",
    "$(lambda x=open('a'): x)",
    "$lambda torch: torch.hub.load('a', 'b')",
    "$lambda x: x.load('a')",
    "$torch.load('a')",
    "$torch.hub.load('a', 'b')",
    "$torch.classes",
    "$torch",
    "$torch.cuda",
    "$monai.bundle.download('x')",
    "$getattr(@a, 'b')",
    "$eval('1')",
    "$exec",
    "$print(1)",
    "$@a.__dict__",
    "$@a.run.__globals__",
    "$@a['x'].system('ls')",
    "$9 ** 9 ** 9",
    "$'a' * 99999999",
    "$1 if __import__('os') else 2",
    "$[*open('a')]",
    "$torch.device(**@a)",
    "$(x := 1)",
    "$import os",
    "$from os import system",
    "$1; 2",
    "$",
    "$'@or' + open('a') + '@or'",
    "$lambda *a: a",
    "$await x",
    "$b'bytes'",
    "$1j",
    "$..." + "",
    "$'https://x.example/a'",
    "$'~/x'",
    "$@roi + '/etc/passwd'",
    "$'' + '/etc/passwd'",
    "$1 # @a\n",
    "$int.__subclasses__()",
    "$str.format('a')",
    "$" + "(" * 400 + "1" + ")" * 400,
    "$1" + "+1" * 300,
}


@pytest.mark.parametrize("text", sorted(EXPRESSIONS))
def test_an_expression_beyond_the_idioms_is_complained_about(text):
    if text == "$1 # @a\n":
        text = "$1 # @a\n, open('a')"
    assert complaint_about_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "$@network.parameters()",
        "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "$@bundle_root + '/models/' + 'model.pt'",
        "$lambda batch: [{'filename_or_obj': case['case_id']} for case in batch]",
        "$int(0.05 * @epochs * @batches_per_epoch)",
        "$None if @is_not_rank0 else @validate#handlers",
        "$@fold is None",
        "$not @has_outline",
        "$monai.utils.set_determinism(seed=@seed)",
    ],
)
def test_the_usual_idioms_pass(text):
    assert complaint_about_expression(text) == ""


def test_what_is_judged_is_what_monai_evaluates():
    from monai.bundle import ReferenceResolver

    from lungseg3d.io.bundle.expressions import _with_references

    for text in ["@a#b + @a + '@a'", "@x::0::y if @x else @xx", "'@or' + @or#1", "@a#b.c(@a)"]:
        refs = {reference: 0 for reference in ReferenceResolver.match_refs_pattern("$" + text)}
        assert "$" + _with_references(text) == ReferenceResolver.update_refs_pattern("$" + text, refs)


def test_a_configuration_that_is_no_json_is_an_error_of_its_own(bundle):
    for text in ("{", "[]", "[" * 100_000):
        (bundle / INFERENCE).write_text(text)
        with pytest.raises(BundleError, match="E_CONFIGURATION"):
            check_bundle(bundle, [INFERENCE])


def test_a_configuration_of_endless_depth_or_size_is_refused(bundle):
    deep: object = 1
    for _ in range(200):
        deep = [deep]
    for value in (deep, "x" * (5 * 2**20)):
        with pytest.raises(BundleError, match="E_UNTRUSTED_CONFIG"):
            check_bundle(change(bundle, x=value), [INFERENCE])
