"""Tests lie at the path of what they test, so that who changes a module finds its tests without a search."""

from __future__ import annotations

from pathlib import Path

import lungseg3d

TESTS = Path(__file__).parent
LIBRARY = Path(lungseg3d.__file__).parent
BESIDE_THE_LIBRARY = {
    "bundles": "the shipped bundles, which lie beside the library",
    "corpus": "inputs that several tests and a benchmark read",
    "fuzz": "a program that looks for inputs that the reader gets wrong",
    "support": "what several tests share",
}
OF_THE_WHOLE_TREE = {
    "test_audit.py": "the versions that dependencies may have",
    "test_bare_debian.py": "the program that tries the README on a bare system",
    "test_contributing.py": "the guide for contributors",
    "test_floors.py": "who imports whom, over all modules",
    "test_mirror.py": "this file",
    "test_names.py": "public names, each of one meaning",
    "test_spellings.py": "ideas that have one spelling in all modules",
    "test_strictness.py": "the type checker's settings",
    "test_writes.py": "the finder of writing calls that test_floors uses",
}


def test_every_test_lies_in_a_folder_of_the_library_or_has_a_reason_not_to():
    found = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    astray = [
        str(path)
        for path in sorted(found)
        if str(path) not in OF_THE_WHOLE_TREE
        and path.parts[0] not in BESIDE_THE_LIBRARY
        and (len(path.parts) == 1 or not (LIBRARY / path.parent).is_dir())
    ]
    assert not astray, f"move them to the folder of what they test: {', '.join(astray)}"


def test_what_several_tests_share_lies_in_support():
    shared = [
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if not path.name.startswith("test_")
        and path.name not in ("conftest.py", "__init__.py")
        and path.relative_to(TESTS).parts[0] not in BESIDE_THE_LIBRARY
    ]
    assert not shared, f"move them to tests/support: {', '.join(shared)}"


def test_every_folder_of_the_library_has_tests_of_its_own():
    folders = {
        path.parent.relative_to(LIBRARY)
        for path in LIBRARY.rglob("*.py")
        if path.name != "__init__.py" and path.parent != LIBRARY and "bundles" not in path.parts
    }
    without = [str(folder) for folder in sorted(folders) if not any((TESTS / folder).glob("test_*.py"))]
    assert not without, f"these folders have no test at tests/<folder>: {', '.join(without)}"
