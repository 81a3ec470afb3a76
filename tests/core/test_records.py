"""Records: an issue says what an error says."""

from __future__ import annotations

import pytest

from lungseg3d.core import IntakeError, LungSegError, QualityIssue
from lungseg3d.core.errors import unexpected_fault
from lungseg3d.workflows.batch.pool import worker_issue

UNSUITED = LungSegError("E_BAD_OPTION", "p1: no such thing.", "Choose another.")


@pytest.mark.parametrize("make", [QualityIssue.of, worker_issue], ids=["case", "worker"])
def test_an_issue_of_a_refusal_has_its_code_message_and_remedy_alone(make):
    assert make(UNSUITED, "another case") == QualityIssue("E_BAD_OPTION", "p1: no such thing.", "Choose another.")


def test_an_issue_words_the_remedy_of_an_error_as_text():
    error = IntakeError("E_NO_PREDICTION", "p1: none", "Segment with [--roi=full|lungseg3d segment --roi full].")
    assert QualityIssue.of(error).remedy == error.remedy
    assert "[--roi" not in QualityIssue.of(error).remedy


def test_an_issue_of_an_unexpected_error_names_case_and_type_but_not_its_words():
    issue = QualityIssue.of(ValueError("/home/Jane Doe/ct"), "p1")
    assert issue == QualityIssue("E_UNEXPECTED", "p1: ValueError.", "Please report this.")
    assert unexpected_fault(ValueError("x"), "p1") == (issue.code, issue.message, issue.remedy)


def test_an_issue_of_a_worker_says_where_memory_ran_out_and_ends_as_journals_have_it():
    assert worker_issue(MemoryError(), "p1").code == "E_OUT_OF_MEMORY"
    assert worker_issue(ValueError("x"), "the models").message == "the models: ValueError"
