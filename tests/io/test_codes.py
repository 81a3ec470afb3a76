"""The table of codes is complete and holds nothing that is never given."""

import re
from pathlib import Path

import lungseg3d.io
from lungseg3d.io import CODES


def test_every_code_in_the_sources_is_in_the_table_and_the_reverse():
    sources = [path for path in Path(lungseg3d.io.__file__).parent.rglob("*.py") if path.name != "codes.py"]
    used = {code for path in sources for code in re.findall(r'"([EW]_[A-Z0-9_]+)"', path.read_text())}
    assert used == set(CODES)


def test_the_public_names_are_there():
    assert all(hasattr(lungseg3d.io, name) for name in lungseg3d.io.__all__)
