"""The table of dataset codes is complete and holds nothing that is never given."""

import re
from pathlib import Path

import lungseg3d
from lungseg3d.data import DATA_CODES
from lungseg3d.io import CODES

ROOT = Path(lungseg3d.__file__).parent
SOURCES = [
    *(path for path in (ROOT / "data").rglob("*.py") if path.name != "codes.py"),
    *(ROOT / "workflows" / "prepare").glob("*.py"),
]


def test_every_code_of_preparing_is_in_a_table_and_the_reverse():
    used = {code for path in SOURCES for code in re.findall(r'"([EW]_[A-Z0-9_]+)"', path.read_text(encoding="utf-8"))}
    assert used - set(CODES) == set(DATA_CODES) - set(CODES)
    assert not set(DATA_CODES) & set(CODES)
