"""JSON form of records, and the text of a JSON file."""

from __future__ import annotations

import json
import math
from types import MappingProxyType

import pytest

from lungseg3d.core import finite, json_text


def test_a_file_is_indented_by_one_and_ends_with_a_newline():
    assert json_text({"a": [1], "ä": "µm"}) == '{\n "a": [\n  1\n ],\n "ä": "µm"\n}\n'


@pytest.mark.parametrize("indent", [1, 2])
@pytest.mark.parametrize("escape", [False, True])
def test_options_are_those_of_json(indent, escape):
    content = {"µ": [0.1, None, True], "z": {"a": "\udcff" if escape else "é"}}
    plain = json.dumps(content, indent=indent, ensure_ascii=escape) + "\n"
    assert json_text(content, indent, escape=escape) == plain


def test_a_number_that_is_not_finite_is_refused_unless_it_is_allowed():
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text([math.nan])
    assert json_text([math.nan], allow_nan=True) == "[\n NaN\n]\n"


def test_finite_empties_numbers_that_json_has_not_and_keeps_the_rest():
    value = MappingProxyType({"a": (1.5, math.inf), "b": [math.nan, "x", 3, None, False]})
    assert finite(value) == {"a": [1.5, None], "b": [None, "x", 3, None, False]}
