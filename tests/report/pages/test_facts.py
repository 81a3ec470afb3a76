"""Nested records as rows of text."""

import numpy as np

from lungseg3d.report.pages.facts import Fact, list_facts


def test_nested_records_become_rows_in_their_own_order():
    facts = list_facts({"options": {"roi": "lungs", "min_volume_mm3": 14.137}, "cpu_only": True, "empty": None})
    assert facts == [
        Fact("options · roi", "lungs"),
        Fact("options · min volume mm3", "14.137"),
        Fact("cpu only", "yes"),
    ]


def test_lists_of_records_are_numbered_and_lists_of_numbers_joined():
    facts = list_facts({"bundles": [{"name": "a"}, {"name": "b"}], "spacing_mm": np.array([0.7, 0.7, 1.25])})
    assert facts == [
        Fact("bundles · 1 · name", "a"),
        Fact("bundles · 2 · name", "b"),
        Fact("spacing mm", "0.7, 0.7, 1.25"),
    ]


def test_only_a_whole_sha256_is_shortened():
    digest = "0123456789abcdef" * 4
    assert list_facts({"weights": digest}) == [Fact("weights", "0123456789ab…", digest)]
    assert list_facts({"weights": digest[:-1]}) == [Fact("weights", digest[:-1])]
