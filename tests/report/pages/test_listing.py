"""The page and its first lines tell listed nodules from candidates, and say what the list costs."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest

from lungseg3d.core import CANDIDATE_REASONS, GeometryError, LowConfidence, Volume
from lungseg3d.core.labels import NODULE
from lungseg3d.report import render_html
from lungseg3d.report.pages.candidates import MOST_PICTURES
from lungseg3d.report.pages.case import MAX_BYTES
from lungseg3d.report.pages.headline import Headline, operating_point_text
from tests.report.pages.test_page import Page, plain_text
from tests.report.pictures.test_figures import find_colour, read_pixels
from tests.support.nodule_records import changed

POINT = {
    "name": "default",
    "least_confidence": {"solid": 0.35, "part-solid": 0.35, "ground-glass": 0.2},
    "false_findings_a_scan": {"value": 1.0, "low": 0.6, "high": 1.5},
    "sensitivity": {"value": 0.85, "low": 0.8, "high": 0.89},
    "size_floor_mm": 4.0,
}
FIVE = ((12, 14, 8, 6), (40, 20, 14, 5), (20, 30, 20, 4), (46, 12, 6, 4), (12, 30, 14, 3))


def listed_of(result, listed, reasons=(), **changes):
    """The first `listed` findings as nodules, the others as candidates; 0.9, 0.8, ... sure."""
    found = [
        changed(nodule, calibrated_confidence=0.9 - 0.1 * place, third="upper", lung_rads_by_diameter="3")
        for place, nodule in enumerate(result.nodules)
    ]
    reasons = [*reasons, *["below-point"] * len(found)]
    candidates = [replace(n, reason=reason) for n, reason in zip(found[listed:], reasons, strict=False)]
    changes = {"operating_point": POINT, **changes}
    return replace(result, nodules=tuple(found[:listed]), candidates=tuple(candidates), **changes)


def parted(nodule_map: Volume, listed: int) -> tuple[Volume, Volume]:
    values = nodule_map.array
    return tuple(nodule_map.with_array(values * part) for part in ((values <= listed), (values > listed)))


@pytest.fixture
def case(chest, record):
    """(record, CT, labels, nodules, candidates): two listed nodules and three candidates."""
    ct, labels, found = chest(FIVE)
    nodules, candidates = parted(found, 2)
    labels.array[candidates.array > 0] = 1
    return listed_of(record(ct, found), 2, ("below-point", "outside-lungs")), ct, labels, nodules, candidates


def test_the_first_lines_say_how_many_which_leads_and_what_the_list_costs(case):
    result, ct, labels, nodules, candidates = case
    text = plain_text(render_html(result, ct, labels, nodules, candidate_map=candidates))
    start = text[: text.index("Measurements")]
    assert "2 nodules listed, all in the left lung. Most important: nodule 1, left lung, upper third, solid" in start
    assert "Lung-RADS 3 by size, confidence 0.90." in start
    assert (
        "3 further candidates are kept below: 2 less sure than the operating point asks for, 1 mostly outside" in start
    )
    assert (
        "Operating point default: about 1 false finding a scan; "
        "finds 85\u00a0% (80 to 89\u00a0%) of nodules from 4\u00a0mm on its test population." in start
    )
    assert text.count("equal thirds of the lung's height, not lobes") == 1


def test_candidates_are_folded_with_their_reasons_and_pictures_and_counted_nowhere_else(case):
    result, ct, labels, nodules, candidates = case
    html = render_html(result, ct, labels, nodules, candidate_map=candidates)
    page = Page(html)
    assert [attrs for tag, attrs in page.tags if tag == "details"] == [{"class": "candidates"}]  # closed
    folded = html[html.index("<details") : html.index("</details>")]
    table = plain_text(folded)
    for reason in ("below-point", "outside-lungs"):
        assert CANDIDATE_REASONS[reason] in table
    assert re.findall(r"Candidate (\d), (0\.\d\d), slice (\d+)", table) == [
        ("3", "0.70", "21"),
        ("4", "0.60", "7"),
        ("5", "0.50", "15"),
    ]
    assert folded.count("<img ") == folded.count('class="other"') == 3
    assert html.count('class="card"') == 2
    assert not re.search(r"nodules? [^<]*\b[345]\b", html[html.index('id="slices"') : html.index("<details")])
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in page.values("href")} <= set(ids)


def test_overview_and_key_slices_draw_no_candidate(case):
    result, ct, labels, nodules, _ = case
    none = nodules.with_array(nodules.array * 0)
    bare = labels.with_array(np.where(labels.array == NODULE.value, 2, labels.array))
    html = render_html(replace(result, nodules=(), candidates=result.findings), ct, bare, none)
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert len(pictures) == 4  # overview, three levels; without a map candidates have no pictures
    assert all(len(find_colour(read_pixels(base64.b64decode(data)), NODULE.colour)) == 0 for data in pictures)


def test_nothing_listed_is_no_nodule_at_this_operating_point(case):
    result, ct, labels, nodules, candidates = case
    everything = nodules.with_array(nodules.array + candidates.array)
    unlisted = listed_of(replace(result, nodules=result.findings), 0)
    text = plain_text(
        render_html(unlisted, ct, labels, nodules.with_array(nodules.array * 0), candidate_map=everything)
    )
    assert "No nodule at this operating point. 5 less sure candidates are kept below." in text
    assert "No nodules were found" not in text
    empty = replace(unlisted, candidates=())
    text = plain_text(render_html(empty, ct, labels, nodules.with_array(nodules.array * 0)))
    assert "No nodules found." in text
    assert "andidate" not in text


def test_thirty_nodules_are_listed_and_the_headline_says_thirty(chest, record):
    cubes = [(x, y, z, 2) for x in (10, 16, 22, 38, 46) for y in (12, 22, 32) for z in (6, 14)]
    ct, labels, found = chest(cubes)
    html = render_html(listed_of(record(ct, found), 30), ct, labels, found)
    assert "30 nodules listed" in plain_text(html)
    assert html.count('class="card"') == 30


def test_the_leading_nodule_is_the_most_important_of_those_that_are_sure(chest, record):
    ct, _, found = chest(FIVE)
    nodules = listed_of(record(ct, found), 5).nodules
    marked = [
        changed(nodules[0], long_axis_mm=6.0),
        changed(nodules[1], lung_rads_by_diameter="4A"),
        changed(nodules[2], lung_rads_by_diameter="4B", calibrated_confidence=0.3),
    ]
    result = listed_of(record(ct, found), 5)
    head = Headline.of(replace(result, nodules=tuple(marked)), LowConfidence())
    assert (head.label, head.leading.id) == ("Most important", 2)
    unsure = Headline.of(replace(result, nodules=tuple(marked)), LowConfidence(calibrated=0.95))
    assert (unsure.label, unsure.leading.id) == ("Surest", 1)


def test_both_sides_are_counted(chest, record):
    ct, _, found = chest(FIVE)
    result = listed_of(record(ct, found), 5)
    nodules = tuple(changed(n, side="right" if n.id < 3 else "left") for n in result.nodules)
    head = Headline.of(replace(result, nodules=nodules), LowConfidence())
    assert head.count == "5 nodules listed: 2 in the right lung, 3 in the left."
    unknown = tuple(changed(n, side="unknown") for n in nodules)
    assert Headline.of(replace(result, nodules=unknown), LowConfidence()).count == "5 nodules listed."


@pytest.mark.parametrize(
    ("point", "text"),
    [
        ({}, ""),
        (
            {"name": "none"},
            "No operating point: the nodule bundle has no calibration, so everything that was found is listed.",
        ),
        (
            {"name": "min-confidence", "least_confidence": {"solid": 0.3, "ground-glass": 0.3}},
            "Listed by the least confidence that was asked for: confidence from 0.30.",
        ),
        (
            {"name": "settings", "least_confidence": {"solid": 0.3, "ground-glass": 0.12}},
            "Listed as the settings file says: confidence from 0.30 (ground-glass 0.12).",
        ),
        (
            {"name": "settings", "least_confidence": {}, "least_raw_confidence": 0.4},
            "Listed as the settings file says: uncalibrated confidence from 0.40.",
        ),
        (
            {"name": "fp=0.5", "false_findings_a_scan": {"value": 0.52}, "sensitivity": {"value": 0.7}},
            "Operating point fp=0.5: about 0.5 false findings a scan; "
            "finds 70\u00a0% of nodules on its test population.",
        ),
    ],
)
def test_an_operating_point_in_words(point, text):
    assert operating_point_text(point) == text


def test_a_record_of_schema_1_has_no_word_of_lists_and_candidates(chest, record):
    ct, labels, found = chest(FIVE)
    text = plain_text(render_html(record(ct, found), ct, labels, found))
    assert "5 nodules. Largest: nodule 1," in text
    assert not re.search("listed|andidate|perating point", text)


def test_many_candidates_have_a_row_and_twenty_a_picture_and_the_page_stays_small(chest, record):
    cubes = [(x, y, z, 2) for x in (9, 13, 20, 40, 46, 52) for y in (12, 22, 32) for z in (5, 10, 15)]
    ct, labels, found = chest(cubes, spacing_mm=(0.1, 0.1, 0.1))
    noise = np.random.default_rng(0).integers(-1350, 150, ct.shape).astype(np.int16)
    nodules, candidates = parted(found, 27)
    html = render_html(
        listed_of(record(ct, found), 27), ct.with_array(noise), labels, nodules, candidate_map=candidates
    )
    folded = html[html.index("<details") : html.index("</details>")]
    assert folded.count("<tr>") == 28  # with its head
    assert folded.count("<img ") == MOST_PICTURES == 20
    assert len(html.encode()) < MAX_BYTES


def test_a_map_of_candidates_on_another_grid_is_refused(case):
    result, ct, labels, nodules, candidates = case
    other = Volume(candidates.array[:-1], candidates.affine)
    with pytest.raises(GeometryError, match="does not lie on the CT's grid"):
        render_html(result, ct, labels, nodules, candidate_map=other)
