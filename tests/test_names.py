"""Public names: each means one thing, and none that others may rely on goes away.

In: the source files of lungseg3d as syntax trees, its faces, the JSON of the bundles. Out: nothing but verdicts.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections import defaultdict
from pathlib import Path

from tests.test_floors import ROOT, SOURCES, TREES

FROZEN = Path(__file__).with_name("public_names.txt")
SAME_NAME = {
    "main": "what `python -m MODULE` runs, of each module that can be run",
    "check": "the two checks of the command line, of a CT and of a manifest, are named by their commands",
}
"""Public names of several objects, and why."""


def _defined() -> dict[str, set[str]]:
    """Public functions and classes -> the modules that define them.

    A command of `cli.verbs` is named like the function of `workflows` that it calls, so that it does not count.
    """
    found = defaultdict(set)
    for module, tree in TREES.items():
        for node in tree.body:
            is_public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if is_public and not module.startswith("lungseg3d.cli.verbs."):
                found[node.name].add(module)
    return found


def _faces() -> dict[str, list[str]]:
    """Dotted name of a package -> its `__all__`; the names of `workflows.segment` are those that it hands on."""
    found = {
        module: list(vars(importlib.import_module(module)).get("__all__", ()))
        for module, path in SOURCES.items()
        if path.name == "__init__.py" and module.count(".") == 1
    }
    cases = importlib.import_module("lungseg3d.workflows.segment.cases")
    return found | {"lungseg3d.workflows.segment": list(cases.__all__)}


def _origin(face: str, name: str) -> str:
    """Where a name of a face is defined: its module, followed through the imports of faces."""
    for node in TREES[face].body if face in TREES else ():
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            return _origin(str(node.module), name)
    return face


def _bundle_names() -> set[str]:
    """Dotted names of lungseg3d in the configurations of the bundles that ship."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT.parent / "bundles").rglob("*.json")]
    assert texts
    strings = {text for content in texts for text in _strings(json.loads(content))}
    return {name for text in strings for name in re.findall(r"\blungseg3d(?:\.\w+)+", text)}


def _strings(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {text for item in value.values() for text in _strings(item)}
    if isinstance(value, list):
        return {text for item in value for text in _strings(item)}
    return {value} if isinstance(value, str) else set()


def test_no_public_function_or_class_has_the_name_of_another():
    shared = {name: sorted(modules) for name, modules in _defined().items() if len(modules) > 1}
    assert {name: modules for name, modules in shared.items() if name not in SAME_NAME} == {}


def test_every_reason_for_a_shared_name_is_needed():
    defined = _defined()
    defined["check"] |= {"lungseg3d.cli.verbs.check", "lungseg3d.cli.verbs.prepare"}
    assert [name for name in SAME_NAME if len(defined[name]) < 2] == []


def test_a_name_of_two_faces_is_one_object():
    origins = defaultdict(set)
    for face, names in _faces().items():
        for name in names:
            origins[name].add(_origin(face, name))
    assert {name: found for name, found in origins.items() if len(found) > 1} == {}


def _is_there(dotted: str) -> bool:
    """Whether a dotted name of modules, then of what they hold, can be imported."""
    parts = dotted.split(".")
    found = importlib.import_module(parts[0])
    for count, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(parts[:count]))
            except ModuleNotFoundError:
                return False
        found = getattr(found, part)
    return True


def test_every_name_that_others_may_rely_on_is_there():
    frozen = FROZEN.read_text(encoding="utf-8").split()
    assert [name for name in frozen if not _is_there(name)] == []
    assert not _is_there("lungseg3d.io.no_such_name")
    assert not _is_there("lungseg3d.no_such_package.name")


def test_the_frozen_list_is_sorted_and_names_each_once():
    # Further public names are frozen at a release: python -c "import tests.test_names as t; t.freeze()"
    frozen = FROZEN.read_text(encoding="utf-8").split()
    assert len(frozen) > 300
    assert frozen == sorted(set(frozen))


def freeze() -> None:
    """Add every public name of today to the list."""
    known = set(FROZEN.read_text(encoding="utf-8").split()) | _bundle_names()
    known |= {f"{face}.{name}" for face, names in _faces().items() for name in names}
    FROZEN.write_text("\n".join(sorted(known)) + "\n", encoding="utf-8")
