"""The HTML page: what it says, what it never does."""

import base64
import hashlib
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from lungseg3d.core import Box, LocalMap, LowConfidence, QualityIssue, Volume
from lungseg3d.report import NoduleMaps, render_html, render_refusal
from lungseg3d.report.pages.case import MAX_BYTES, MAX_PANELS
from tests.support.nodule_records import changed

MANY = [(x, y, z, 2) for x in (10, 20, 40) for y in (12, 22, 32) for z in (5, 11, 17)]
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collects tags and checks that every one is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(re.sub(r"/>", "></path>", html))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def values(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def plain_text(html: str) -> str:
    body = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", "", body).replace("&nbsp;", " "))


@pytest.fixture
def volumes(chest):
    return chest()


def test_the_page_loads_nothing_from_elsewhere(volumes, record):
    html = render_html(record(volumes[0], volumes[2]), *volumes)
    page = Page(html)
    assert page.values("src")
    kinds = ("data:image/jpeg;base64,", "data:image/png;base64,")
    assert all(source.startswith(kinds) for source in page.values("src"))
    assert all(target.startswith("#") for target in page.values("href"))
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_the_page_allows_its_own_script_and_no_other(volumes, record):
    html = render_html(record(volumes[0], volumes[2]), *volumes)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"script-src 'sha256-{sha256}'")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src" not in render_refusal(record(volumes[0], volumes[2], status="refused"))


def test_overlays_are_chosen_by_controls_with_names_and_only_where_there_are_any(volumes, record):
    result = record(volumes[0], volumes[2])
    box = Box((10, 16, 6), (24, 30, 20))
    maps = NoduleMaps(uncertainty={1: LocalMap(box, np.full(box.shape, 0.5, np.float32))})
    plain, page = Page(render_html(result, *volumes)), Page(render_html(result, *volumes, maps))
    assert [attrs["id"] for tag, attrs in page.tags if tag == "input"] == [
        "show-outline",
        "overlay-none",
        "overlay-uncertainty",
    ]
    assert [attrs["id"] for tag, attrs in plain.tags if tag == "input"] == ["show-outline"]
    layers = [attrs for tag, attrs in page.tags if tag == "img" and "layer" in attrs.get("class", "")]
    assert [attrs["class"] for attrs in layers] == ["layer uncertainty"] * 3
    assert layers[0]["alt"] == "Uncertainty of nodule 1, axial plane."
    assert not [attrs for tag, attrs in plain.tags if "layer" in attrs.get("class", "")]


def test_sizes_have_their_table_and_their_place_in_the_panel_where_they_are_known(volumes, record):
    result = record(volumes[0], volumes[2])
    known = changed(result.nodules[0], mean_diameter_mm=10.87, volume_low_mm3=1300.0, volume_high_mm3=1600.0)
    without, with_sizes = (
        plain_text(render_html(replace(result, nodules=(nodule,)), *volumes)) for nodule in (result.nodules[0], known)
    )
    assert "Size, place and guideline" not in without
    assert "Size, place and guideline" in with_sizes
    assert "Mean diameter 10.9\u00a0mm" in with_sizes
    assert "95\u00a0% interval 1\u202f300–1\u202f600\u00a0mm³" in with_sizes


def test_a_nodule_of_low_confidence_is_marked_in_words(volumes, record):
    result = record(volumes[0], volumes[2])
    (nodule,) = result.nodules
    sure, raw, low = (
        plain_text(render_html(replace(result, nodules=(changed(nodule, **changes),)), *volumes))
        for changes in ({}, {"confidence": 0.7}, {"calibrated_confidence": 0.3})
    )
    assert "low" not in sure.lower().replace("below", "").replace("allow", "")
    assert "0.70 ▲ low" in raw
    assert "0.30 ▲ low" in low  # beside the number that is too low, not beside a mean probability of 0.9
    for text in (raw, low):
        assert "It is of low confidence." in text
        assert text.count("▲ low") == 3  # table, what it means, panel
    assert "Confi­dence Slice" in low
    assert "Confidence 0.30" in low
    assert "0.93" not in low  # one confidence is shown
    assert "Uncali­brated confi­dence" in raw
    assert "Uncalibrated confidence 0.70" in raw


def test_the_limits_of_low_confidence_are_those_that_were_asked_for(volumes, record):
    result = record(volumes[0], volumes[2])
    (nodule,) = result.nodules
    unsure = replace(result, nodules=(changed(nodule, calibrated_confidence=0.3),))
    assert "▲ low" not in plain_text(render_html(unsure, *volumes, low=LowConfidence(calibrated=0.25)))
    text = plain_text(render_html(result, *volumes, low=LowConfidence(uncalibrated=0.95)))
    assert "marks low confidence: below 0.95." in text


def test_an_explanation_is_explained_where_there_is_one(volumes, record):
    box = Box((10, 16, 6), (24, 30, 20))
    maps = NoduleMaps(explanation={1: LocalMap(box, np.full(box.shape, 0.5, np.float32))})
    result = record(volumes[0], volumes[2])
    plain, explained = plain_text(render_html(result, *volumes)), plain_text(render_html(result, *volumes, maps))
    assert "are dashed. Explanation: what the network weighed" in explained
    assert "Grad-CAM" not in plain


def test_every_link_leads_to_a_place_on_the_page_and_no_id_is_used_twice(volumes, record):
    page = Page(render_html(record(volumes[0], volumes[2], issues=(QualityIssue("W_X", "x"),)), *volumes))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in page.values("href")} <= set(ids)
    assert set(page.values("aria-labelledby")) <= set(ids)


def test_every_image_has_words_and_the_page_a_language(volumes, record):
    page = Page(render_html(record(volumes[0], volumes[2]), *volumes))
    assert all(attrs.get("alt", "").strip() for tag, attrs in page.tags if tag == "img")
    assert ("html", {"lang": "en"}) in page.tags


def test_the_summary_says_how_many_how_large_and_how_much_lung(volumes, record):
    text = plain_text(render_html(record(volumes[0], volumes[2], issues=(QualityIssue("W_X", "x"),)), *volumes))
    assert "both lungs 5\u202f218 ml. 1 quality issue." in text
    leading = "nodule 1, left lung, solid, 12.7 × 9.0\u00a0mm, 1\u202f458\u00a0mm³, uncalibrated confidence 0.93."
    assert f"1 nodule. Largest: {leading}" in text
    assert "Lungs: right lung 2\u202f965 ml, left lung 2\u202f253 ml, both lungs 5\u202f218 ml." in text
    assert "Research use only. Not a medical device." in text


def test_slice_numbers_count_in_the_order_of_the_cts_own_array(volumes, record):
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = volumes[0].shape[2] - 1
    flipped = tuple(Volume(volume.array[:, :, ::-1], volume.affine @ flip) for volume in volumes)
    # The cube fills z 10 to 15: slices 11 to 16 from the feet, 15 to 20 of 30 from the head.
    assert "Slice 11 of 30: nodule 1" in render_html(record(volumes[0], volumes[2]), *volumes)
    assert "Slice 20 of 30: nodule 1" in render_html(record(flipped[0], flipped[2]), *flipped)


def test_names_with_markup_are_shown_and_not_run(volumes, record):
    nasty = "<script>alert(1)</script>"
    result = record(
        volumes[0],
        volumes[2],
        case_id=nasty,
        source={"kernel": nasty},
        issues=(QualityIssue("W_X", nasty, nasty),),
        provenance={nasty: '" onload="alert(1)'},
    )
    for html in (render_html(result, *volumes), render_refusal(result)):
        assert html.count("<script") == (1 if "article" in html else 0)
        assert "<script>alert" not in html
        assert '" onload="' not in html
        assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


def test_the_same_case_gives_the_same_bytes(volumes, record):
    result = record(volumes[0], volumes[2])
    assert render_html(result, *volumes) == render_html(result, *volumes)


def test_a_ct_without_nodules_and_without_lungs_has_a_page_that_says_so(chest, record):
    ct, _, nodule_map = chest(cubes=())
    html = render_html(record(ct, nodule_map, lungs=()), ct, nodule_map.with_array(nodule_map.array * 0), nodule_map)
    text = plain_text(html)
    assert "No nodules found. No lung mask: the whole volume was searched." in text
    assert text.count(": no nodule") == 3
    assert not any(word in html for word in ('id="nodules"', "Table of nodules", "Right lung"))
    Page(html)


def test_of_many_nodules_the_first_have_panels_and_all_stand_in_the_table(chest, record):
    ct, labels, nodule_map = chest(
        cubes=[(x, y, z, 2) for x in (9, 13, 20, 40, 46, 52) for y in (12, 22, 32) for z in (6, 12, 18)]
    )
    html = render_html(record(ct, nodule_map), ct, labels, nodule_map)
    assert html.count('class="card"') == MAX_PANELS == 50
    assert html.count('<th scope="row" class="num">') == 54
    assert "Shown are the first 50 of 54 nodules" in plain_text(html)
    Page(html)


def test_a_page_of_pure_noise_stays_below_five_megabytes(chest, record):
    ct, labels, nodule_map = chest(
        cubes=[(x, y, z, 2) for x in (9, 13, 20, 40, 46, 52) for y in (12, 22, 32) for z in (5, 10, 15)],
        spacing_mm=(0.1, 0.1, 0.1),
    )
    noise = np.random.default_rng(0).integers(-1350, 150, ct.shape).astype(np.int16)
    assert len(render_html(record(ct, nodule_map), ct.with_array(noise), labels, nodule_map).encode()) < MAX_BYTES


def test_a_measured_nodule_without_voxels_is_listed_and_said_to_be_without_picture(volumes, record):
    ct, labels, nodule_map = volumes
    html = render_html(record(ct, nodule_map), ct, labels, nodule_map.with_array(nodule_map.array * 0))
    assert "has no voxels in the nodule map" in html


def test_what_is_unknown_is_a_dash_and_never_nan(volumes, record):
    result = record(volumes[0], volumes[2])
    odd = changed(result.nodules[0], mean_hu=math.nan, confidence=None)
    html = render_html(replace(result, nodules=(odd,), timings_s={"read": math.nan}), *volumes)
    assert "– s" in html
    assert not re.search(r"\bnan\b|\bNone\b", plain_text(html))


def test_weights_are_named_by_twelve_digits_and_whole_on_hover(volumes, record):
    html = render_html(record(volumes[0], volumes[2]), *volumes)
    assert f'<td title="{"ab12" * 16}">ab12ab12ab12…</td>' in html


def test_errors_come_before_warnings_each_with_its_way_out(volumes, record):
    issues = (QualityIssue("W_THICK", "5 mm slices", "Reconstruct at 1 mm."), QualityIssue("E_GAP", "2 slices missing"))
    html = render_html(record(volumes[0], volumes[2], issues=issues), *volumes)
    text = plain_text(html)
    assert text.index("Error: E_GAP 2 slices missing") < text.index("Warning: W_THICK 5 mm slices")
    assert "Way out: Reconstruct at 1 mm." in text
    assert html.count("Way out:") == 1
    assert 'class="issue error"' in html


def test_a_refused_case_has_a_small_page_with_the_reason_and_the_way_out(record, volumes):
    issue = QualityIssue("E_SLICE_GAP", "slices 88 and 89 lie 3.75 mm apart", "Export the series again.")
    html = render_refusal(record(volumes[0], volumes[2], status="refused", issues=(issue,)))
    text = plain_text(html)
    assert "input refused" in text
    assert "E_SLICE_GAP slices 88 and 89 lie 3.75 mm apart Way out: Export the series again." in text
    assert "Research use only" in text
    assert len(html) < 20_000
    Page(html)


def test_a_failed_case_blames_the_program_and_not_the_input(record, volumes):
    text = plain_text(render_refusal(record(volumes[0], volumes[2], status="failed")))
    assert "the program failed" in text
    assert "refused" not in text


def test_what_puts_the_result_in_doubt_stands_above_everything_else(record, volumes):
    ct, labels, nodules = volumes
    issues = (
        QualityIssue("W_OOD_NOISE", "there is more noise."),
        QualityIssue("W_DISEASED_LUNG", "opacities fill 12 % of the lungs.", "Look at the outlines."),
        QualityIssue("W_ANATOMY_ORIENTATION", "the spine lies at the front.", "Correct the header."),
    )
    checks = {"orientation": {"front_back": "against", "found": {"spine": "front"}}}
    text = plain_text(render_html(record(ct, nodules, issues=issues, checks=checks), ct, labels, nodules))
    places = [text.index(words) for words in ("W_ANATOMY_ORIENTATION", "W_DISEASED_LUNG", "Largest:", "W_OOD_NOISE")]
    assert places == sorted(places)
    assert text.count("W_ANATOMY_ORIENTATION") == 1
    assert "1 further quality issue" in text
    assert "front backagainst orientation · found · spinefront" in text


def test_a_case_without_lungs_makes_no_statement_about_nodules(record, volumes):
    ct, labels, nodules = volumes
    none = labels.with_array(np.zeros_like(labels.array))
    issue = QualityIssue("W_NO_LUNG", "0 ml of lung is labelled.", "Use --roi full.")
    result = record(ct, nodules, status="no_lungs", lungs=(), nodules=(), issues=(issue,))
    html = render_html(result, ct, none, none)
    text = plain_text(html)
    assert "No lungs were found, so no nodule was looked for." in text
    assert "No nodules found" not in text
    assert "the whole volume was searched" not in text
    assert text.index("W_NO_LUNG") < text.index("No lungs were found")
    Page(html)
