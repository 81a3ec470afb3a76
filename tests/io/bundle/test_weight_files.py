"""Weights are those that were pinned, and hold tensors only; a file that is anything else is never loaded."""

from __future__ import annotations

import hashlib
import io
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from lungseg3d.core import BundleError
from lungseg3d.io import pin_weights, pinned_weights, read_pins, read_weights, trusting_bundles
from lungseg3d.io.bundle.weights import check_tensors_only
from lungseg3d.tensors import load_state, load_weights
from lungseg3d.workflows.pin import main as pin_main

BUNDLES = Path(__file__).resolve().parents[3] / "bundles"
NAMES = sorted(path.name for path in BUNDLES.iterdir() if path.is_dir())


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3), torch.nn.BatchNorm3d(4), torch.nn.Conv3d(4, 2, 1))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "b" / "models").mkdir(parents=True)
    torch.save(network().state_dict(), tmp_path / "b" / "models" / "model.pt")
    pin_weights(tmp_path / "b")
    return tmp_path / "b"


def opened(bundle: Path) -> None:
    """As `open_bundle` takes weights."""
    data, _ = pinned_weights(bundle, "model.pt", read_pins(bundle))
    load_state(network(), data, "model.pt")


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_weights_are_pinned(name):
    pins = read_pins(BUNDLES / name)
    weights = sorted((BUNDLES / name / "models").glob("*.pt"))
    again = f"python -m lungseg3d.workflows.pin bundles/{name}"
    assert sorted(pins) == [path.name for path in weights], f"weights came or went; pin them: {again}"
    for path in weights:
        _, found = read_weights(path)
        assert found == pins[path.name], f"{path.name} of {name} was exchanged; pin it, and commit SHA256SUMS: {again}"


def test_100_flipped_bits_are_all_found(bundle):
    path = bundle / "models" / "model.pt"
    whole = path.read_bytes()
    places = random.Random(7).sample(range(8 * len(whole)), 100)
    for place in places:
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        path.write_bytes(broken)
        with pytest.raises(BundleError, match="E_CHECKPOINT_HASH"):
            opened(bundle)
    path.write_bytes(whole)
    opened(bundle)


def test_20_truncations_are_all_found_with_and_without_pins(bundle):
    path = bundle / "models" / "model.pt"
    whole = path.read_bytes()
    for length in [0, 1, 4, *random.Random(7).sample(range(5, len(whole)), 17)]:
        path.write_bytes(whole[:length])
        with pytest.raises(BundleError, match="E_CHECKPOINT_HASH"):
            opened(bundle)
        with pytest.raises(BundleError, match=r"E_BAD_CHECKPOINT|E_UNSAFE_CHECKPOINT"):
            load_weights(network(), path)


class Runs:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def with_pickle(program: bytes) -> bytes:
    """A good file of weights with another pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved({"a": torch.zeros(2)}))) as good, zipfile.ZipFile(buffer, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, program if name.endswith("data.pkl") else good.read(name))
    return buffer.getvalue()


def with_member(name: str) -> bytes:
    buffer = io.BytesIO(saved({"a": torch.zeros(2)}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, b"def f(): pass")
    return buffer.getvalue()


def malicious(owned: Path) -> dict[str, bytes]:
    return {
        "a function in the state dict": saved({"weight": Runs(Path.touch, owned)}),
        "a bare pickle": pickle.dumps(Runs(Path.touch, owned)),
        "os.system": saved(Runs(__import__("os").system, f"touch {owned}")),
        "eval in the pickle of a zip": with_pickle(
            b"c__builtin__\neval\n(V" + f"open({str(owned)!r},'w')\ntR.".encode()
        ),
        "a name put together on the stack": with_pickle(
            b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x10" + b"open('owned','w')"[:16] + b"\x85R."
        ),
        "a class that is made": with_pickle(b"(ipathlib\nPath\n."),
        "a hook of torch": with_pickle(b"ctorch.hub\nload\n(Vx\nVy\ntR."),
        "a TorchScript archive": with_member("archive/code/__torch__.py"),
        "a second pickle": with_member("other/data.pkl"),
        "an extension": with_pickle(b"\x82\x01."),
    }


@pytest.mark.parametrize("what", malicious(Path("x")))
def test_a_malicious_file_is_refused_before_torch_sees_it_and_does_nothing(what, bundle, tmp_path, monkeypatch):
    data = malicious(tmp_path / "owned")[what]
    (bundle / "models" / "model.pt").write_bytes(data)
    pin_weights(bundle)  # its author pins, too
    loaded: list[object] = []
    monkeypatch.setattr(torch, "load", lambda *a, **k: loaded.append(a))
    with pytest.raises(BundleError, match="E_UNSAFE_CHECKPOINT"):
        opened(bundle)
    with (
        trusting_bundles(),
        pytest.raises(BundleError, match="E_UNSAFE_CHECKPOINT"),
    ):  # trust is of code, not of pickles
        opened(bundle)
    assert not loaded
    assert not (tmp_path / "owned").exists()


def test_weights_of_every_usual_type_pass():
    types = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
    state = network().state_dict()
    for weights in (
        {str(dtype): torch.ones(3, dtype=dtype) for dtype in types},
        {"p": torch.nn.Parameter(torch.ones(2)), **state},
        state,
    ):
        data = saved(weights)
        check_tensors_only(data, "w")
        read = torch.load(io.BytesIO(data), weights_only=True)
        assert list(read) == list(weights)
        assert all(read[key].dtype == weights[key].dtype and torch.equal(read[key], weights[key]) for key in weights)
        with pytest.raises(BundleError, match="E_UNSAFE_CHECKPOINT"):  # one value more that is no tensor
            check_tensors_only(saved({**weights, "path": Path("x")}), "w")


def test_weights_that_nobody_pinned_need_trust(bundle):
    (bundle / "models" / "SHA256SUMS").unlink()
    with pytest.raises(BundleError, match="E_CHECKPOINT_HASH") as caught:
        opened(bundle)
    assert "lungseg3d.workflows.pin" in caught.value.remedy
    with trusting_bundles():
        opened(bundle)


def test_a_pin_is_a_pin_also_of_a_trusted_bundle(bundle):
    torch.save(network().state_dict() | {"0.bias": torch.ones(4)}, bundle / "models" / "model.pt")
    with trusting_bundles(), pytest.raises(BundleError, match="E_CHECKPOINT_HASH"):
        opened(bundle)


@pytest.mark.parametrize("text", ["nonsense", "aa  model.pt", "0" * 64 + "  ../model.pt"])
def test_a_list_of_pins_that_is_none_is_refused(bundle, text):
    (bundle / "models" / "SHA256SUMS").write_text(text)
    with pytest.raises(BundleError, match="E_CHECKPOINT_HASH"):
        opened(bundle)


def test_wrong_keys_and_shapes_are_refused_and_the_network_keeps_its_weights(bundle):
    state = network().state_dict()
    for other in (
        {**state, "0.bias": torch.ones(5)},
        {k: v for k, v in state.items() if k != "0.bias"},
        {**state, "more": torch.ones(1)},
        {},
    ):
        target = network()
        before = {key: value.clone() for key, value in target.state_dict().items()}
        with pytest.raises(BundleError, match="E_BAD_CHECKPOINT"):
            load_state(target, saved(other), "w")
        assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())


def test_the_line_that_pins_again_writes_what_sha256sum_checks(bundle, capsys):
    torch.save(network().state_dict(), bundle / "models" / "outline.pt")
    assert pin_main([str(bundle)]) == 0
    assert "outline.pt" in capsys.readouterr().out
    assert sorted(read_pins(bundle)) == ["model.pt", "outline.pt"]
    if sys.platform == "linux":
        words = ["sha256sum", "-c", "SHA256SUMS"]
        assert subprocess.run(words, cwd=bundle / "models", check=False, capture_output=True).returncode == 0
    assert pin_main([str(bundle / "configs")]) == 2
    assert "has no weights" in capsys.readouterr().err
    assert pin_main([]) == 2
    capsys.readouterr()
    assert pin_main(["--help"]) == 0
    assert "BUNDLE" in capsys.readouterr().out


def test_weights_in_half_precision_take_half_the_bytes_and_load_as_fp32(bundle, capsys):
    path = bundle / "models" / "model.pt"
    state = {"0.weight": torch.randn(64, 64, 3, 3, 3), "0.count": torch.tensor(70_000)}
    torch.save(state, path)
    whole = path.stat().st_size
    assert pin_main(["--half", str(bundle)]) == 0
    assert path.stat().st_size < 0.52 * whole
    assert hashlib.sha256(path.read_bytes()).hexdigest() in capsys.readouterr().out
    stored = torch.load(path, weights_only=True)
    assert stored["0.count"] == 70_000
    target = torch.nn.Module()
    target.register_parameter("0_weight", torch.nn.Parameter(torch.zeros(64, 64, 3, 3, 3)))
    load_state(target, saved({"0_weight": stored["0.weight"]}), "w")
    loaded = target.state_dict()["0_weight"]
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded, state["0.weight"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("content", [{"w": torch.tensor([1e6])}, {"epoch": 3}])
def test_what_half_precision_cannot_hold_stays_as_it_was(bundle, content, capsys):
    path = bundle / "models" / "model.pt"
    torch.save(content, path)
    before = path.read_bytes()
    assert pin_main(["--half", str(bundle)]) == 3
    assert "E_BAD_CHECKPOINT" in capsys.readouterr().err
    assert path.read_bytes() == before
