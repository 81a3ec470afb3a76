"""mypy is strict for the whole package: nothing is exempt, neither by configuration nor by a comment in a module."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
MYPY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]


def test_mypy_is_strict_and_exempts_no_module_of_the_package():
    modules = [entry["module"] for entry in MYPY["overrides"]]
    named = [name for module in modules for name in ([module] if isinstance(module, str) else module)]
    assert MYPY["strict"] is True
    assert [name for name in named if name.startswith(("lungseg3d", "*"))] == []


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "lungseg3d").iterdir() if path.is_dir()))
def test_no_module_weakens_mypy_by_a_comment(folder):
    weakened = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "lungseg3d" / folder).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"#\s*mypy:|#\s*type:\s*ignore(?!\[)", line)
    ]
    assert weakened == []
