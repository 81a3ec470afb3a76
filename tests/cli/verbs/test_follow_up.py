"""`follow-up` on the command line: what it passes on, what it prints, how it ends. The workflow is a stand-in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lungseg3d.core import CaseResult, Change, Estimate, FollowUp, IntakeError, NoduleChange, QualityIssue
from tests.cli.test_cli import run, stand_in
from tests.support.follow_up_cases import nodule_at

NODULES = nodule_at(1, (50, 0, 0), 500.0), nodule_at(1, (50, 0, 0), 750.0)
GROWN = NoduleChange(
    1, Change.GROWN, "", *NODULES, (50, 0, 0), (50, 0, 0), 0.5, Estimate(0.5, 0.2, 0.9), Estimate(205.0, 130.0, None)
)
DONE = FollowUp(
    CaseResult("a", "done"), CaseResult("b", "done"), (GROWN,), 120, issues=(QualityIssue("W_NO_DAYS", "unknown."),)
)


@pytest.fixture
def comparing(monkeypatch):
    calls = SimpleNamespace(error=None, result=DONE)

    def follow_up(prior, current, out, options, on_progress):
        calls.given = prior.name, current.name, out.name, options
        if calls.error:
            raise calls.error
        return calls.result

    stand_in(monkeypatch, "follow_up.run", FollowUpOptions=lambda *a: a, follow_up=follow_up)
    return calls


def test_nodules_issues_and_the_page_are_said(comparing, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    shown = run("follow-up", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out", "--days", "120")
    assert shown.exit_code == 0
    assert "grown" in shown.stdout
    assert "+50 (+20 to +90)" in shown.stdout
    assert "205 (> 130)" in shown.stdout
    assert "W_NO_DAYS: unknown." in shown.stderr
    assert "follow_up.html" in shown.stdout
    assert comparing.given[:3] == ("a", "b", "out")
    assert comparing.given[3][0] == 120


def test_no_nodules_are_said_in_words(comparing, tmp_path):
    comparing.result = FollowUp(DONE.prior, DONE.current, ())
    assert "No nodules in either CT." in run("follow-up", tmp_path, tmp_path, "--out", tmp_path / "out").stdout


def test_a_refusal_ends_with_3_and_its_code(comparing, tmp_path):
    comparing.error = IntakeError("E_NOT_A_RESULT", "b: it is no result.", "Give a folder that segment wrote.")
    shown = run("follow-up", tmp_path, tmp_path, "--out", tmp_path / "out")
    assert shown.exit_code == 3
    assert "E_NOT_A_RESULT: b: it is no result." in shown.stderr
