"""The plan of the house, kept: who may import whom, what may be loaded, what every module must have.

In: the source files of lungseg3d, as syntax trees. Out: nothing but verdicts. A module is named by its dotted path.
"""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lungseg3d
from tests.support.writes import writes_in

ROOT = Path(lungseg3d.__file__).parent
FLOORS = {
    "core": 1,
    **dict.fromkeys(("io", "data", "analysis", "metrics", "report"), 2),
    "tensors": 3,
    "tracking": 3,
    **dict.fromkeys(("inference", "networks", "losses", "transforms", "engines"), 4),
    "workflows": 5,
    "cli": 6,
}
MOST_MODULES = 15
LIGHT = [room for room, floor in FLOORS.items() if floor in (1, 2, 6) or room == "tracking"]
HEAVY = {"torch", "monai", "ignite", "mlflow"}


def _name_of(path: Path) -> str:
    parts = ("lungseg3d", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {_name_of(path): path for path in sorted(ROOT.rglob("*.py")) if "bundles" not in path.relative_to(ROOT).parts}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imports(module: str, tree: ast.AST, at_load: bool) -> set[str]:
    """Dotted names that `module` imports: all of them, or only those that run when the module is loaded."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            members = {f"{origin}.{alias.name}" for alias in node.names}
            found |= (members & set(SOURCES)) or {origin}
        elif at_load and (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_for_type_checkers(node)):
            continue
        else:
            found |= _imports(module, node, at_load)
    return found


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "lungseg3d" and len(parts) > 1 else ""


# Who may write by itself, and why. Everything else goes through these modules of lungseg3d.io.
WRITERS = {f"lungseg3d.io.storage.{name}" for name in ("files", "folders", "growing", "case_folders")}
EXCEPTIONS = {
    ("lungseg3d.engines.training.beginning", "_is_inherited"): "the open lock of the parent process names this one",
    ("lungseg3d.workflows.batch_state.journal", "__init__"): "SQLite writes its own file, each record synced",
    ("lungseg3d.workflows.batch_state.journal", "_make"): "SQLite writes the temporary file that `placing` renames",
    ("lungseg3d.io.decoding_worker", "_fill"): "memory that two processes share, which is no file",
    ("lungseg3d.cli.terminal.console", "_write"): "the null device takes what is printed after a pipe's end is gone",
}
HOW_TO_WRITE = """writes by itself: {call}
Everything that leaves the program goes through lungseg3d.io, so that it is complete under its name or not at all:
  write_text(path, text), write_bytes(path, data), copy_file(source, target)
  with writing(path) as file: torch.save(content, file)        an open binary file for any library
  with placing(path) as temporary: library.write(str(temporary))   for libraries that take nothing but a path
  make_folder(path), check_writable(path), placing_folder(path), placing_together(folder, last="result.json")
  open_to_append(path) for a journal or a log, scratch_file(folder, size) for a memory map
A database, or whatever must write by itself, needs its reason in EXCEPTIONS of tests/test_floors.py."""


def test_every_package_has_a_floor():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(FLOORS)
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py"}


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_from_its_own_room_and_from_lower_floors(module):
    for imported in _imports(module, TREES[module], at_load=False):
        there = _room(imported)
        if not there or there == _room(module):
            continue
        assert _room(module), f"lungseg3d itself imports {imported}, so every import of a part would load it"
        assert FLOORS[there] < FLOORS[_room(module)], f"{module} (floor {FLOORS[_room(module)]}) imports {imported}"


def test_no_module_imports_itself_by_a_detour():
    # Imports inside functions count too: a circle that is hidden in a function is a circle.
    graph = {
        module: {name for name in _imports(module, tree, at_load=False) if name in SOURCES and name != module}
        for module, tree in TREES.items()
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as circle:
        pytest.fail(" -> ".join(reversed(circle.args[1])))
    assert set(order) == set(SOURCES)


@pytest.mark.parametrize("module", [name for name in SOURCES if _room(name) in ("", *LIGHT)])
def test_floors_1_2_and_6_do_not_load_torch_or_monai_in_their_source(module):
    loaded = {name.split(".")[0] for name in _imports(module, TREES[module], at_load=True)}
    assert not loaded & HEAVY


@pytest.mark.parametrize("room", LIGHT)
def test_importing_a_light_room_leaves_torch_and_monai_alone(room):
    code = f"import sys, lungseg3d.{room}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == ""


@pytest.mark.parametrize("room", FLOORS)
def test_the_public_list_of_a_package_is_true_and_complete(room):
    package = importlib.import_module(f"lungseg3d.{room}")
    tree = TREES[f"lungseg3d.{room}"]
    reexported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    names = getattr(package, "__all__", None)
    assert names is not None, f"lungseg3d.{room} has no __all__"
    assert sorted(names) == sorted(set(names))
    assert {name for name in reexported | defined if not name.startswith("_")} <= set(names)
    assert [name for name in names if not hasattr(package, name)] == []


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_opens_with_a_header_that_says_what_it_is(module):
    header = ast.get_docstring(TREES[module])
    assert header, f"{module} has no header"
    assert len(header) >= 30


@pytest.mark.parametrize("module", [name for name in SOURCES if name not in WRITERS])
def test_nothing_but_the_one_writer_writes(module):
    found = [(name, line, call) for name, line, call in writes_in(TREES[module]) if (module, name) not in EXCEPTIONS]
    said = [f"{SOURCES[module]}:{line} " + HOW_TO_WRITE.format(call=call) for _, line, call in found]
    assert not said, "\n".join(said)


def test_every_exception_from_the_one_writer_is_needed():
    found = {(module, name) for module, tree in TREES.items() for name, _, _ in writes_in(tree)}
    assert set(EXCEPTIONS) <= found


def _folder(module: str) -> str:
    return module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]


def test_no_folder_is_a_corridor():
    # Every verb has a module of its own, however many there are.
    counts = Counter(_folder(module) for module, path in SOURCES.items() if path.name != "__init__.py")
    assert {folder: n for folder, n in counts.items() if n > MOST_MODULES and folder != "lungseg3d.cli.verbs"} == {}


def test_folders_form_no_circle():
    # Faces (`__init__`) gather what lies below them, so their own imports say nothing about where a folder stands.
    graph: dict[str, set[str]] = {}
    for module, tree in TREES.items():
        if SOURCES[module].name == "__init__.py":
            continue
        there = {name for name in _imports(module, tree, at_load=False) if name in SOURCES}
        folders = {_folder(name) for name in there if SOURCES[name].name != "__init__.py"}
        graph.setdefault(_folder(module), set()).update(folders - {_folder(module)})
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as circle:
        pytest.fail(" -> ".join(reversed(circle.args[1])))
    # All folders were looked at: an empty graph would have no circle either.
    assert {_folder(module) for module, path in SOURCES.items() if path.name != "__init__.py"} <= set(order)


def test_no_module_is_a_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [module for module in SOURCES if module.rpartition(".")[2] in drawers]


MOST_ARGUMENTS = 7


@pytest.mark.parametrize("module", [name for name in SOURCES if _room(name) != "cli"])
def test_no_function_asks_for_more_arguments_than_a_reader_can_keep_in_mind(module):
    # Of the command line each option is an argument, so `cli` is left out.
    long = []
    for node in ast.walk(TREES[module]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            given = [name.arg for name in names if name.arg not in ("self", "cls")]
            if len(given) > MOST_ARGUMENTS:
                long.append(f"{node.name} (line {node.lineno}) has {len(given)}: {', '.join(given)}")
    hint = f"most is {MOST_ARGUMENTS}; group what belongs together in a frozen dataclass"
    assert not long, f"{module}: {'; '.join(long)}; {hint}"


@pytest.mark.parametrize("module", SOURCES)
def test_keyword_groups_name_what_the_keywords_are_the_fields_of(module):
    # `--set` looks for the keys of a component there: a group that is not named cannot be set.
    for node in ast.walk(TREES[module]):
        if not isinstance(node, ast.ClassDef):
            continue
        assigned = [one for one in node.body if isinstance(one, ast.Assign)]
        if any("keyword_groups" in ast.unparse(one.targets[0]) for one in assigned):
            starts = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
            assert starts, f"{module}.{node.name} has keyword_groups and no __init__"
            assert starts[0].args.kwarg is not None, f"{module}.{node.name}: keyword_groups without **keywords"
