"""What a run is known by: the configuration as it was merged, flat names, and no path."""

from __future__ import annotations

import subprocess

import pytest

from lungseg3d.tracking import facts
from lungseg3d.tracking.facts import (
    description,
    flat_parameters,
    git_revision,
    resolve_plain_references,
    versions,
    without_paths,
)


def test_references_to_plain_values_are_followed_and_others_are_kept():
    config = {"a": {"b": [1, 2]}, "c": "@a::b", "d": "@c", "e": "@a#b#1", "f": "@a", "g": "$@c + [3]", "h": "@none"}
    assert resolve_plain_references(config) == config | {"c": [1, 2], "d": [1, 2], "e": 2}


def test_references_in_a_circle_end():
    assert resolve_plain_references({"a": "@b", "b": "@a"})["a"] in ("@a", "@b")


def test_parameters_are_named_by_where_they_stand_and_plain_lists_stay_whole():
    config = {
        "_meta_": {"version": "1"},
        "epochs": 3,
        "loss": {"_target_": "DiceLoss", "_desc_": "why", "weight": [1, 2]},
        "handlers": [{"name": "a b:c"}, "@x"],
        "none": None,
        "long": "x" * 9000,
    }
    flat = flat_parameters(config)
    assert {key: value for key, value in flat.items() if key != "long"} == {
        "epochs": "3",
        "loss/_target_": "DiceLoss",
        "loss/weight": "[1, 2]",
        "handlers/0/name": "a b:c",
        "handlers/1": "@x",
        "none": "null",
    }
    assert len(flat["long"]) == 500
    assert flat_parameters({}) == {}


@pytest.mark.parametrize(
    "path",
    [
        "/data/Doe_John/ct",
        "~/Doe_John",
        "C:\\Doe_John\\ct",
        "file:///data/Doe_John",
        "/data/Doe John (2)/ct",
        "Doe John/ct",
    ],
)
def test_a_path_is_hidden_wherever_it_stands(path):
    assert without_paths({"a": [path]}) == {"a": ["<path>"]}


@pytest.mark.parametrize("text", ["lung_cts", "$@bundle_root + '/../../shared'", "$0.5 / @epochs", "@train::x", ""])
def test_what_is_no_path_is_kept(text):
    assert without_paths(text) == text


def test_descriptions_are_kept():
    assert without_paths({"_desc_": "and/or"}) == {"_desc_": "and/or"}


def test_a_path_inside_an_expression_is_hidden():
    assert without_paths("$torch.load('/data/Doe/x.pt')") == "$torch.load('<path>')"


def test_the_revision_is_a_commit_and_versions_name_what_computes():
    revision = git_revision()
    assert revision is None or len(revision.removesuffix("+changes")) == 40
    assert {"versions/python", "versions/torch", "versions/mlflow"} <= set(versions())


def test_the_description_is_one_line():
    network = {"network/class": "LightUNet3d", "network/parameters": "1234567"}
    assert description(network, {"train": ["a", "b"]}) == "**LightUNet3d**, 1.23 M parameters; cases: 2 train"


def git_in(folder, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `lungseg3d` two folders deep in a repository with one commit, which does not track it yet."""
    package = tmp_path / "env" / "lungseg3d" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("", encoding="utf-8")
    (tmp_path / "thesis.txt").write_text("another project", encoding="utf-8")
    git_in(tmp_path, "init", "-q")
    git_in(tmp_path, "add", "thesis.txt")
    git_in(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(facts.lungseg3d, "__file__", str(package))
    return package


@pytest.mark.parametrize("ignored", [True, False])
def test_a_repository_around_the_package_that_does_not_track_it_is_not_asked(package, tmp_path, ignored):
    if ignored:
        (tmp_path / ".gitignore").write_text("env\n", encoding="utf-8")
    assert git_revision() is None


def test_the_repository_that_tracks_the_package_says_its_commit(package, tmp_path):
    git_in(tmp_path, "add", ".")
    git_in(tmp_path, "commit", "-q", "-m", "second")
    assert git_revision() == git_in(tmp_path, "rev-parse", "HEAD")
    package.write_text("changed = True\n", encoding="utf-8")
    assert git_revision().endswith("+changes")
