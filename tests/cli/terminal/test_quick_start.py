"""A process that segments starts without MONAI's companions, and they are there for whoever wants them later."""

from __future__ import annotations

import subprocess
import sys

_STARTED = """
import sys
from lungseg3d.cli.terminal.quick_start import _UNASKED, OWN_PROCESS, import_monai_to_segment
OWN_PROCESS.set(True)
import_monai_to_segment()
"""


def run(program: str) -> list[str]:
    words = [sys.executable, "-c", program]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()


def test_monai_is_there_and_its_companions_are_not_until_they_are_asked_for():
    program = """
print([name for name in _UNASKED if name in sys.modules])
import ignite.engine, matplotlib.figure, pandas, scipy.signal
from monai.transforms import Compose
from monai.bundle import ConfigParser
print(Compose([lambda x: x + 1])(1), ConfigParser({"a": "$1 + 1"}).get_parsed_content("a"))
"""
    assert run(_STARTED + program) == ["[]", "2 2"]


def test_the_shipped_bundles_open():
    program = """
from lungseg3d.workflows.segment.models import open_models
from lungseg3d.workflows.segment.options import SegmentOptions
print(open_models(SegmentOptions()).nodules.name)
print([name for name in ("ignite", "mlflow", "pandas") if name in sys.modules])
"""
    assert run(_STARTED + program) == ["lung_nodule_ct_segmentation", "[]"]


def test_in_a_process_of_others_nothing_is_imported_or_hidden():
    program = """
import sys
from lungseg3d.cli.terminal.quick_start import import_monai_to_segment
import_monai_to_segment()
print("monai" in sys.modules, None in sys.modules.values())
"""
    assert run(program) == ["False False"]
