"""The allocator: told once where there is a glibc, and never against what the user has said."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from lungseg3d.tensors import allocation, keep_freed_memory

# The file alone, because the package loads torch: ten seconds of a test that needs none of it.
_PROGRAM = f"""
import resource, runpy
print(runpy.run_path({allocation.__file__!r})["keep_freed_memory"]())
block = bytearray(b"x") * (32 * 2**20)
del block
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    block = bytearray(b"x") * (32 * 2**20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run() -> list[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    words = [sys.executable, "-c", _PROGRAM]
    return subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout.splitlines()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_blocks_are_served_again_without_new_pages():
    told, faults = run()
    assert told == "True"
    assert int(faults) < 5000  # 20 blocks of 8,192 pages


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "100000"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=100000")],
)
def test_what_the_user_has_set_is_left_alone(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(ctypes, "CDLL", lambda path: pytest.fail("the allocator is asked for"))
    assert keep_freed_memory() is False
