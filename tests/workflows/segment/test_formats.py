"""The table of output formats: what `--format` says, and what a further row brings about by itself."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lungseg3d.cli.terminal.options import Formats
from lungseg3d.core import CaseResult, UsageError, Volume
from lungseg3d.workflows.segment import formats
from lungseg3d.workflows.segment.formats import OutputFormat, formats_of, make_objects, needs_dicom
from lungseg3d.workflows.segment.memory_plan import reading_options
from lungseg3d.workflows.segment.options import SegmentOptions


def test_the_help_of_the_option_names_every_format():
    (option,) = Formats.__metadata__
    assert option.help.startswith(", ".join(one.title for one in formats.OUTPUT_FORMATS) + ";")


def test_names_of_formats_and_files_are_each_given_once():
    rows = formats.OUTPUT_FORMATS
    assert len({one.name for one in rows}) == len(rows)
    assert len(set(formats.MASK_NAMES)) == len(formats.MASK_NAMES)
    assert {name for one in rows for name in one.brings} <= {one.name for one in rows}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("sr", ("seg", "sr")), ("seg,nifti", ("nifti", "seg")), (" NIFTI , nifti", ("nifti",)), ("sr,nifti,seg", None)],
)
def test_words_come_in_the_order_of_the_table_with_what_they_refer_to(text, wanted):
    assert formats_of(text) == (wanted or ("nifti", "seg", "sr"))


def test_a_word_that_is_no_format_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="does not know no-format") as caught:
        formats_of("nifti,no-format")
    assert "nifti, seg, sr" in str(caught.value)


def test_only_formats_of_a_series_need_one_and_take_memory():
    assert [needs_dicom([name]) for name in ("nifti", "seg", "sr")] == [False, True, True]
    bare, objects = (
        reading_options(SegmentOptions(formats=words, max_memory_gib=64.0)) for words in (("nifti",), ("seg", "sr"))
    )
    assert (objects.memory.bytes_per_voxel, bare.memory.bytes_per_voxel) == (11.0, 9.0)


def test_a_further_row_is_made_for_an_image_file_too_and_for_none_that_needs_a_series(monkeypatch):
    names = {"outline": False, "of_series": True}
    more = [
        OutputFormat(name, name, (f"{name}.txt",), lambda case, name=name: {f"{name}.txt": b"made"}, needs_series=needs)
        for name, needs in names.items()
    ]
    monkeypatch.setattr(formats, "OUTPUT_FORMATS", (*formats.OUTPUT_FORMATS, *more))
    empty = Volume(np.zeros((2, 2, 2), np.uint16), np.eye(4))
    result = CaseResult("a", "done", provenance={})
    alone = make_objects(result, empty, empty, None, tuple(names))
    assert alone.files == {"outline.txt": b"made"}
    beside = make_objects(result, empty, empty, SimpleNamespace(issues=()), tuple(names))
    assert beside.files == {"outline.txt": b"made", "of_series.txt": b"made"}
