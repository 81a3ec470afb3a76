"""The one table of codes is complete, holds nothing that is never given, and is written in plain sentences."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import lungseg3d
from lungseg3d.core import CODES

ROOT = Path(lungseg3d.__file__).parent
TABLE = ROOT / "core" / "codes.py"
CODE = re.compile(r"\b[EW]_[A-Z][A-Z0-9_]*[A-Z0-9]\b")


def strings_of(tree: ast.AST) -> Iterator[str]:
    """Every string, pieces of f-strings too, but no docstring and no prefix that codes are compared with."""
    for node in ast.iter_child_nodes(tree):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_prefix = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "startswith"
        if is_docstring or is_prefix:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        yield from strings_of(node)


def test_every_code_in_the_sources_is_in_the_table_and_the_reverse():
    sources = [path for path in ROOT.rglob("*.py") if path != TABLE]
    texts = [text for path in sources for text in strings_of(ast.parse(path.read_text(encoding="utf-8")))]
    used = {code for text in texts for code in CODE.findall(text)}
    assert used - set(CODES) == set(), "raised, but not in core/codes.py"
    assert set(CODES) - used == set(), "in core/codes.py, but never raised"


def test_no_code_stands_in_the_table_twice():
    named = [text for text in strings_of(ast.parse(TABLE.read_text(encoding="utf-8"))) if CODE.fullmatch(text)]
    assert sorted(named) == sorted(CODES)


def test_meanings_are_sentences_of_their_own():
    for code, (meaning, raised_by) in CODES.items():
        assert meaning[0].isupper() or meaning.startswith(("-", "last.pt")), code
        assert meaning.endswith("."), code
        assert raised_by, code
    assert len({meaning for meaning, _ in CODES.values()}) == len(CODES)


def test_the_package_is_marked_as_typed():
    assert (ROOT / "py.typed").read_bytes() == b""
