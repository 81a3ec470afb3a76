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


REAL_DATA = Path(os.environ.get("LUNGSEG3D_REAL_DATA") or REPOSITORY / ".." / "shared" / "data").resolve()
_COLLECTIONS = ("ct", "dicom_corner_cases")  # folders of data sets


class RealData(type(Path())):  # type: ignore[misc]
    """A path in the real data; the way to a data set that is absent skips the test at hand, with the reason."""

    def __truediv__(self, key: str | os.PathLike[str]) -> RealData:
        path = super().__truediv__(key)
        if path.is_relative_to(REAL_DATA) and (parts := path.relative_to(REAL_DATA).parts):
            name = "/".join(parts[: 2 if parts[0] in _COLLECTIONS else 1])
            if not os.path.exists(os.path.join(REAL_DATA, name)):
                pytest.skip(f"the real data at {REAL_DATA} have no {name}")
        return path


@pytest.fixture(autouse=True)
def _skip_bf16_where_it_is_not_computed(request: pytest.FixtureRequest) -> None:
    """Skips what is marked `bf16` where the product itself refuses bf16, with its reason; nothing else."""
    if request.node.get_closest_marker("bf16") is None:
        return
    from lungseg3d.tensors import obstacle_to

    if obstacle := obstacle_to("torch", "bf16"):
        pytest.skip(f"this processor does not compute bf16: {obstacle}")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CTs: LUNGSEG3D_REAL_DATA, else `../shared/data` by the repository; skips where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set LUNGSEG3D_REAL_DATA to the folder that has it")
    return RealData(REAL_DATA)
