"""What hostile bundles leave behind in this process is taken away before other tests run."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def close_what_hostile_code_left_open() -> Iterator[None]:
    """Files that lie in circles of references are closed here, not with a warning in a test that opened none."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
