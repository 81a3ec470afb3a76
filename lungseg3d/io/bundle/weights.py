"""Weights on the disk: pinned by their SHA-256 in the bundle, and looked at before PyTorch reads them.

In: a bundle's folder, a file. Out: its bytes, when they are those that were pinned and hold tensors only. The pins lie
in `models/SHA256SUMS`, as `sha256sum` writes and checks them; MONAI's metadata keep the keys of its schema. Knows no
torch.
"""

from __future__ import annotations

import hashlib
import io
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from lungseg3d.core import BundleError
from lungseg3d.io.bundle.reading import read_once
from lungseg3d.io.bundle.scan import is_trusting
from lungseg3d.io.storage.files import write_text

PINS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([\w.-]+)")
_MOST_BYTES = 8 * 2**30
_MOST_PIN_BYTES = 2**20
_PIN = "Take the bundle again from its source; if you changed the weights: python -m lungseg3d.workflows.pin BUNDLE"
# All that a state dict of tensors is made of. torch.load(weights_only=True) lets more pass, and had holes
# (CVE-2025-32434 before 2.6, CVE-2026-24747 before 2.10).
_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)"
    r"|torch (Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
)
_OPCODES = {
    *("PROTO", "STOP", "EMPTY_DICT", "EMPTY_TUPLE", "EMPTY_LIST", "MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1"),
    *("BININT2", "LONG1", "BINFLOAT", "NEWTRUE", "NEWFALSE", "NONE", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
    *("SETITEM", "SETITEMS", "APPEND", "APPENDS"),
}
_MEMBERS = re.compile(
    r"[^/]+/(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|data/\d+|\.data/serialization_id)"
)


def pin_weights(root: Path | str) -> dict[str, str]:
    """Write down the SHA-256 of every file of weights in `models`.

    Returns:
        File name -> sum.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    folder = Path(root) / "models"
    sums = {path.name: _sum(path.read_bytes()) for path in sorted(folder.iterdir()) if path.suffix == ".pt"}
    write_text(folder / PINS, "".join(f"{value}  {name}\n" for name, value in sums.items()))
    return sums


def read_pins(root: Path | str) -> dict[str, str]:
    """File name -> SHA-256 as pinned; empty where nothing is.

    Raises:
        BundleError: E_CHECKPOINT_HASH for a list that is none.
    """
    path = Path(root) / "models" / PINS
    try:
        text = read_once(path, _MOST_PIN_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        text = f"models/{PINS} of {Path(root).name}: {error.strerror}"
        raise BundleError("E_CHECKPOINT_HASH", text, _PIN) from error
    found = [_LINE.fullmatch(line) for line in text.splitlines() if line.strip()]
    if not all(found):
        raise BundleError("E_CHECKPOINT_HASH", f"models/{PINS} of {Path(root).name} is no list of SHA-256 sums", _PIN)
    return {match[2]: match[1] for match in found if match}


def pinned_weights(root: Path, name: str, pins: Mapping[str, str]) -> tuple[bytes, str]:
    """The bytes of `models/<name>` and their SHA-256, which is the pinned one.

    Raises:
        BundleError: E_CHECKPOINT_HASH when it is not, or nothing is pinned and the user does not trust the bundle; as
            `read_weights`.
    """
    path = root / "models" / name
    expected = pins.get(name)
    if expected is None and not is_trusting():
        raise BundleError("E_CHECKPOINT_HASH", f"models/{name} of {root.name} is not in models/{PINS}", _PIN)
    return read_weights(path, expected)


def read_weights(path: Path, expected_sha256: str | None = None) -> tuple[bytes, str]:
    """The bytes of a file of weights, read once, and their SHA-256.

    Args:
        path: as `torch.save` writes it.
        expected_sha256: of the file; None where nobody knows.

    Raises:
        BundleError: E_CHECKPOINT_HASH when it is another file; E_UNSAFE_CHECKPOINT when it holds more than tensors;
            E_BAD_CHECKPOINT when it is damaged, or no weights.
    """
    try:
        data = read_once(path, _MOST_BYTES)
    except OSError as error:
        raise BundleError("E_BAD_CHECKPOINT", f"{path} cannot be read as weights: {error.strerror}") from error
    found = _sum(data)
    if expected_sha256 not in (None, found):
        text = f"{path.name} has SHA-256 {found[:12]}..., {str(expected_sha256)[:12]}... is pinned"
        raise BundleError("E_CHECKPOINT_HASH", f"{path.parent.parent.name}: {text}", _PIN)
    check_tensors_only(data, str(path))
    return data, found


def check_tensors_only(data: bytes, name: str) -> None:
    """Refuse a file that is more than tensors, without running or unpacking any of it.

    Raises:
        BundleError: E_UNSAFE_CHECKPOINT, E_BAD_CHECKPOINT.
    """
    if not data.startswith(b"PK\x03\x04"):
        _check_pickle(data, name, bare=True)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            for member in members:
                if not _MEMBERS.fullmatch(member.filename):
                    _unsafe(name, f"the member {member.filename[:80]!r}")
                if member.compress_type != zipfile.ZIP_STORED or member.file_size > len(data):
                    _unsafe(name, f"the packed member {member.filename[:80]!r}")
            names = [member.filename for member in members]
            pickles = [member for member in names if member.endswith("/data.pkl")]
            if len(pickles) != 1 or len(set(names)) != len(names):
                _unsafe(name, "members that readers may take differently")
            program = archive.read(pickles[0])
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BundleError("E_BAD_CHECKPOINT", f"{name} cannot be read as weights: {error}") from error
    _check_pickle(program, name, bare=False)


def _check_pickle(program: bytes, name: str, bare: bool) -> None:
    """What a pickle would do, read as a list of instructions; a bare one, of before PyTorch 1.6, is refused anyway."""
    try:
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name == "GLOBAL" and not _GLOBALS.fullmatch(str(argument)):
                _unsafe(name, f"{str(argument)[:80].replace(' ', '.')}")
            if opcode.name not in _OPCODES:
                _unsafe(name, f"the pickle instruction {opcode.name}")
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise BundleError("E_BAD_CHECKPOINT", f"{name} cannot be read as weights: {error}") from error
    if bare:
        raise BundleError("E_BAD_CHECKPOINT", f"{name} cannot be read as weights: not written by torch.save")


def _unsafe(name: str, what: str) -> None:
    raise BundleError(
        "E_UNSAFE_CHECKPOINT",
        f"{name} holds {what}, which no weights need; it was not loaded",
        "Do not use it. Weights are the plain state_dict of a network, written by torch.save.",
    )


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
