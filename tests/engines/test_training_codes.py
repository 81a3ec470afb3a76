"""The table of training codes is complete and holds nothing that is never given."""

import re
from pathlib import Path

import lungseg3d.engines
from lungseg3d.data import DATA_CODES
from lungseg3d.engines.codes import TRAINING_CODES
from lungseg3d.io import CODES


def test_every_code_of_a_training_is_in_a_table_and_the_reverse():
    sources = [path for path in Path(lungseg3d.engines.__file__).parent.rglob("*.py") if path.name != "codes.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    used = set(re.findall(r"\b([EW]_[A-Z][A-Z0-9_]+)\b", text))
    assert used - set(CODES) - set(DATA_CODES) == set(TRAINING_CODES)
    assert not set(TRAINING_CODES) & (set(CODES) | set(DATA_CODES))
