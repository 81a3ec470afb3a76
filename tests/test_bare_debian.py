"""What the script for a bare Debian takes from README and the Dockerfile; the run itself is slow and needs root."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = REPOSITORY / ".ci" / "bare_debian.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="a source archive without .ci")


@pytest.fixture(scope="module")
def bare_debian():
    spec = importlib.util.spec_from_file_location("bare_debian", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bare_debian"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_readme_has_two_commands_the_first_installs_in_an_environment_and_the_second_tests_in_it(bare_debian):
    first, second = bare_debian.readme_commands((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert first == "python3 -m venv .venv && . .venv/bin/activate && pip install . && lungseg3d demo"
    assert second == ". .venv/bin/activate && pip install '.[test]' && pytest"


def test_a_comment_behind_a_command_is_no_part_of_it(bare_debian):
    assert bare_debian.readme_commands("# Title\n```\nmake it   # says why\n\npytest -k 'a#b'\n```\nmore") == [
        "make it",
        "pytest -k 'a#b'",
    ]


def test_continued_lines_of_a_dockerfile_are_one_instruction_and_comments_are_none(bare_debian):
    text = "# note\nFROM a AS b\nRUN one \\\n    # why\n    && two\n\ncopy x ./x\n"
    assert [(one.name, one.text) for one in bare_debian.dockerfile_instructions(text)] == [
        ("FROM", "a AS b"),
        ("RUN", "one && two"),
        ("COPY", "x ./x"),
    ]


def test_every_instruction_of_the_dockerfile_can_be_run_and_what_it_copies_is_let_into_the_build(bare_debian):
    found = bare_debian.dockerfile_instructions((REPOSITORY / "Dockerfile").read_text(encoding="utf-8"))
    names = {one.name for one in found}
    assert names >= {"FROM", "RUN", "COPY", "ENTRYPOINT"}
    assert [name for name in names - {"FROM"} if not hasattr(bare_debian.Build, f"_{name.lower()}")] == []
    allowed = bare_debian.allowed_in_context((REPOSITORY / ".dockerignore").read_text(encoding="utf-8"))
    from_context = [one.text.split() for one in found if one.name == "COPY" and "--from" not in one.text]
    copied = {word for *sources, _ in from_context for word in sources}
    assert copied
    assert copied <= allowed


def test_settings_of_a_stage_are_expanded_in_order(bare_debian, tmp_path):
    stage = bare_debian.Stage(bare_debian.Machine(tmp_path))
    build = bare_debian.Build.__new__(bare_debian.Build)
    build._given = {"INDEX": "mine"}
    build._arg(stage, "INDEX=theirs")
    build._arg(stage, "OTHER=theirs")
    build._env(stage, "PATH=/opt/x/bin:$PATH NOTE=${INDEX}")
    assert stage.arguments == {"INDEX": "mine", "OTHER": "theirs"}
    assert stage.environment["PATH"].startswith("/opt/x/bin:/usr/local/sbin:")
    assert stage.environment["NOTE"] == "mine"


@pytest.mark.slow
def test_readme_and_dockerfile_in_a_bare_debian(bare_debian):
    if reason := bare_debian.missing_here():
        pytest.skip(reason)
    done = subprocess.run([sys.executable, str(SCRIPT)], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.endswith("\nPassed: bare Debian.\n")
    steps = [line.partition(" min: ")[2] for line in done.stdout.splitlines() if line.startswith("--- ")]
    for kind in ("README: ", "Dockerfile: RUN ", "docker run "):
        assert any(step.startswith(kind) for step in steps), f"no step {kind.strip()!r} ended well"
