"""Of many cases those that have something."""

from __future__ import annotations

import torch

from lungseg3d.engines import CasesWith, SourceGroup


def test_only_cases_with_something_are_kept_under_their_names():
    masks = {"a": 0, "b": 1, "c": 1}
    cases = [{"case_id": name, "tempting": torch.full((1, 2, 2, 2), value)} for name, value in masks.items()]
    kept = CasesWith(cases, "tempting")
    assert len(kept) == 2
    assert [one["case_id"] for one in kept] == ["b", "c"]
    assert SourceGroup("g", kept).case_ids() == ["b", "c"]
