"""The guide for contributors names files that are there, and tasks of at most five files."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MOST_FILES = 5


def test_every_path_of_the_guide_is_there():
    named = re.findall(r"`((?:lungseg3d|tests|bundles|benchmarks|\.ci)/[\w./-]*)`", GUIDE)
    assert len(named) > 15
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_no_task_takes_more_steps_than_files_allowed():
    tasks = GUIDE.split("\n### ")[1:]
    assert len(tasks) == 5
    for task in tasks:
        assert 1 <= len(re.findall(r"^\d\. ", task, re.M)) <= MOST_FILES, task.splitlines()[0]


def test_the_layers_of_the_guide_are_those_that_are_kept():
    from tests.test_floors import FLOORS

    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", GUIDE, re.M)
    layers = {name: int(layer) for layer, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert layers == FLOORS
