"""Fixtures of all tests: the place of the real data.

In: the environment. Out: fixtures. Knows no room of the house.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Side by side, test processes want one thread each; read when torch is first imported, here and in child processes.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CTs: LUNGSEG3D_REAL_DATA, else `../shared/data` by the repository; skips where it is absent."""
    folder = Path(os.environ.get("LUNGSEG3D_REAL_DATA") or REPOSITORY / ".." / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LUNGSEG3D_REAL_DATA to the folder that has it")
    return folder
