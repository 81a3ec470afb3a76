"""Remedies name options of the verb that runs: by templates, over every verb and every remedy of the package."""

from __future__ import annotations

import ast
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import lungseg3d
from lungseg3d.cli.program import app
from lungseg3d.core import IntakeError, QualityIssue
from lungseg3d.core.remedies import offer, offered_options, offering, remedy_text

ROOT = Path(lungseg3d.__file__).parent
AXES = "Write it again[, or pass --assume-axes=RAS when you know the axes]."


def verbs() -> dict[str, frozenset[str]]:
    """Name of every verb -> its options."""
    found = {}

    def walk(command, name):
        for word, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{name} {word}".strip())
        if not hasattr(command, "commands"):
            words = (word for p in command.params for word in (*p.opts, *p.secondary_opts))
            found[name] = frozenset(word for word in words if word.startswith("--"))

    walk(typer.main.get_command(app), "")
    return found


VERBS = verbs()


def test_an_option_stands_only_where_the_verb_has_it():
    with offering(["--assume-axes"]):
        assert remedy_text(AXES) == "Write it again, or pass --assume-axes RAS when you know the axes."
    with offering(["--out"]):
        assert remedy_text(AXES) == "Write it again."
        assert remedy_text("[Pass --volume-index=N.|Give one 3D volume.]") == "Give one 3D volume."
        assert remedy_text("[Pass --out=DIR, or --overwrite.|Choose another folder.]") == "Choose another folder."


def test_outside_of_the_program_options_are_arguments_of_python():
    assert offered_options() is None
    assert remedy_text(AXES) == 'Write it again, or pass assume_axes="RAS" when you know the axes.'
    assert remedy_text("[Pass --volume-index=N.]") == "Pass volume_index=N."
    assert remedy_text("[Pass --allow-gaps.]") == "Pass allow_gaps=True."
    assert remedy_text("[Give --max-memory=3.5.]") == "Give max_memory=3.5."


def test_other_brackets_and_finished_text_stay_as_they_are():
    for text in ("pip install 'lungseg3d[openvino]'", "at [1..3, 2..4].", "Run lungseg3d export --source SERIES."):
        assert remedy_text(text) == text
    with offering(["--assume-axes"]):
        text = remedy_text(AXES)
    assert remedy_text(text, options=()) == text


def test_an_error_from_another_process_is_worded_where_it_arrives():
    code = "import pickle, sys\nfrom lungseg3d.core.remedies import keep_templates\nkeep_templates()\n"
    code += "from lungseg3d.core import IntakeError, QualityIssue\n"
    code += f"sent = IntakeError('E_X', 'found', {AXES!r}), QualityIssue('W_X', 'found', {AXES!r})\n"
    code += "sys.stdout.buffer.write(pickle.dumps(sent))"
    sent = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    with offering(["--out"]):
        error, issue = pickle.loads(sent)
        assert (error.remedy, issue.remedy) == ("Write it again.", "Write it again.")
    with offering(["--assume-axes"]):
        error, issue = pickle.loads(sent)
        assert error.remedy == issue.remedy == "Write it again, or pass --assume-axes RAS when you know the axes."
        assert isinstance(error, IntakeError)
        assert isinstance(issue, QualityIssue)


def test_a_child_process_words_its_remedies_as_the_verb_that_started_it():
    code = f"from lungseg3d.core.remedies import remedy_text; print(remedy_text({AXES!r}))"
    with offering(["--out"]):
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "Write it again.\n"


def test_what_was_offered_before_is_offered_again_after():
    with offering(["--a"]):
        with offering(["--b"]):
            assert offered_options() == {"--b"}
        assert offered_options() == {"--a"}
    offer(None)
    assert offered_options() is None


# Modules that one verb alone runs; what they say may name its options directly.
OF_ONE_VERB = {
    "workflows/batch": ("batch",),
    "workflows/compare": ("compare",),
    "workflows/convert": ("convert",),
    "workflows/explain": ("explain",),
    "workflows/export": ("export",),
    "workflows/follow_up": ("follow-up",),
    "workflows/prepare/check": ("prepare check",),
    "workflows/doctor": (),
    "workflows/train/values": ("train", "compare"),
    "analysis/follow_up/scan_differences": ("follow-up",),
    "io/intake/memory_budget": ("segment", "batch"),
    "io/bundle/scan": ("segment", "batch", "explain", "train", "compare"),
    "inference/review/explanation": ("explain",),
}
_OPTION = re.compile(r"--[a-z][a-z0-9-]*")
_COMMAND = re.compile(
    r"(?:lungseg3d )?\b(" + "|".join(sorted(VERBS, key=len, reverse=True)) + r") (?:[A-Z]+ )*--[a-z].*"
)
_OF_LIBRARIES = {"--raw", "--head"}  # gdcmconv --raw, ray start --head


def texts() -> list[tuple[str, str]]:
    """(module, text) of every string of the package with an option in it, docstrings and the command line aside."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT).with_suffix("").as_posix()
        if module.startswith("cli/") or module in ("core/remedies", "core/codes"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr) and id(node) not in skipped:
                skipped |= {id(value) for value in node.values}
                text = "".join(str(v.value) if isinstance(v, ast.Constant) else "7" for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                text = node.value
            else:
                continue
            if re.search(r"(?<![\w-])--[a-z]", text) and " " in text:
                found.append((module, text))
    return found


TEXTS = texts()
CONDITIONAL = sorted({text for _, text in TEXTS if re.search(r"\[[^\]]*--[a-z]", text)})


def test_the_remedies_of_the_package_are_found():
    assert len(CONDITIONAL) >= 15
    assert any("--assume-axes" in text for text in CONDITIONAL)


@pytest.mark.parametrize("verb", VERBS)
def test_no_conditional_remedy_names_an_option_that_the_verb_lacks(verb):
    for text in CONDITIONAL:
        with offering(VERBS[verb]):
            said = remedy_text(text)
        assert said.strip(), f"nothing is left of {text!r} for {verb}"
        unknown = set(_OPTION.findall(_COMMAND.sub("", said))) - VERBS[verb] - _OF_LIBRARIES
        assert not unknown, f"{verb} says {said!r}"


def _of_one_verb(module: str) -> tuple[str, ...] | None:
    return next((names for beginning, names in OF_ONE_VERB.items() if module.startswith(beginning)), None)


# What was asked for may be named by the option that asked for it, for it was there.
_GIVEN = re.compile(
    r"^--(precision|backend) 7[: ]|^--device $|as --[a-z-]+ asks|\(--assume-hu\)|--strict is set"
    r"|--assume-axes 7 does not name|--max-memory|--format (does|is)"
)


@pytest.mark.parametrize(("module", "text"), TEXTS)
def test_every_other_option_in_a_text_is_one_of_the_only_verb_or_of_a_command_that_is_named(module, text):
    bare = re.sub(r"\[[^\[\]]*--[a-z][^\[\]]*\]", "", _GIVEN.sub("", text))
    for command in _COMMAND.finditer(bare):
        assert set(_OPTION.findall(command[0])) <= VERBS[command[1]], f"{module}: {text!r}"
    left = set(_OPTION.findall(_COMMAND.sub("", bare))) - _OF_LIBRARIES
    verbs_of = _of_one_verb(module)
    if verbs_of is None:
        assert not left, f"{module}: {text!r} names {left} to every verb: put that part in brackets"
    for verb in verbs_of or ():
        assert left <= VERBS[verb] | {"--minutes"}, f"{module}: {text!r}"
