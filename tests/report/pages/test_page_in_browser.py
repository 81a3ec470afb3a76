"""The report in headless Chromium: keys do what its controls say, every text has the contrast of WCAG 2.1 AA."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from lungseg3d.core import Box, LocalMap, QualityIssue
from lungseg3d.report import NoduleMaps, render_html
from tests.support.nodule_records import changed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]
KEYS = """
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const at = () => document.activeElement.id;
const on = (id) => document.getElementById(id).checked;
const told = [];
for (const key of ["j", "j", "j", "k", "ArrowRight", "ArrowLeft"]) { press(key); told.push(at()); }
for (const key of ["o", "o"]) { press(key); told.push(on("show-outline")); }
for (const key of ["u", "e", "e"]) {
  press(key);
  told.push([on("overlay-none"), on("overlay-uncertainty"), on("overlay-explanation")].indexOf(true));
}
"""
# Relative luminance and contrast ratio as WCAG 2.1 defines them.
CONTRAST = """
const parts = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (rgb) => {
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const [r, g, b] = rgb.slice(0, 3).map((v) => linear(v / 255));
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parts(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return DARK ? [17, 22, 27] : [255, 255, 255];
};
const told = [];
for (const element of document.body.querySelectorAll("*")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.closest("svg, script, style") || !element.getClientRects().length) continue;
  const [a, b] = [light(parts(getComputedStyle(element).color)), light(ground(element))];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  told.push([Math.round(ratio * 100) / 100, element.tagName, element.textContent.trim().slice(0, 40)]);
}
"""


def run_in_browser(html: str, script: str, folder, width: int = 1400, *, dark: bool = False):
    """What `told` holds after the script ran at the end of the page."""
    html = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)
    end = f"<script>{script.replace('DARK', str(dark).lower())}\ndocument.title = JSON.stringify(told);</script></body>"
    path = folder / "page.html"
    path.write_text(html.replace("</body>", end), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={width},1000", *(["--blink-settings=preferredColorScheme=0"] if dark else [])]
    said = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, check=True)
    title = re.search(r"<title>(.*?)</title>", said.stdout, re.DOTALL).group(1)
    return json.loads(title.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


@pytest.fixture
def page(chest, record):
    ct, labels, nodules = chest([(12, 14, 8, 6), (40, 20, 14, 5)])
    box = Box((8, 10, 6), (24, 30, 20))
    maps = {1: LocalMap(box, np.full(box.shape, 0.5, np.float32))}
    issues = (QualityIssue("W_THICK_SLICES", "Slices of 6 mm.", "Use thinner ones."), QualityIssue("E_X", "Odd.", ""))
    point = {"name": "default", "least_confidence": {"solid": 0.3}}
    result = record(ct, nodules, issues=issues, operating_point=point)
    found = chest([(12, 14, 8, 6), (40, 20, 14, 5), (20, 30, 20, 4)])[2]
    beside = found.with_array(found.array * (found.array == 3))
    candidate = replace(record(ct, found).nodules[2], reason="outside-lungs")
    result = replace(result, candidates=(candidate,))
    return render_html(result, ct, labels, nodules, NoduleMaps(maps, maps), candidate_map=beside)


def test_keys_visit_nodules_and_turn_overlays(page, tmp_path):
    first, second = "nodule-1", "nodule-2"
    assert run_in_browser(page, KEYS, tmp_path) == [
        *(first, second, second, first, second, first),
        *(False, True),
        *(1, 2, 0),
    ]


def test_no_table_is_cut_off_on_a_screen_of_1280_pixels(chest, record, tmp_path):
    ct, labels, nodules = chest([(12, 14, 8, 6), (40, 20, 14, 5)])
    plain = record(ct, nodules)
    known = {"calibrated_confidence": 0.12, "uncertainty": 0.35, "view_agreement": 0.9, "kind": "part-solid"}
    known |= {"mean_diameter_mm": 10.7, "volume_low_mm3": 10085.0, "volume_high_mm3": 13026.0, "third": "middle"}
    known |= {"solid_long_axis_mm": 7.3, "solid_perpendicular_mm": 5.7}
    known |= {"centroid_lps_mm": (-107.6, -265.5, -444.8), "volume_mm3": 11461.0}
    full = replace(plain, nodules=tuple(changed(nodule, **known) for nodule in plain.nodules))
    html = render_html(full, ct, labels, nodules)
    wide = 'const told = [...document.querySelectorAll(".scroll")].map((box) => box.scrollWidth - box.clientWidth);'
    assert run_in_browser(html, wide, tmp_path, 1280) == [0, 0]


def test_candidates_are_folded_and_open_without_a_script(page, tmp_path):
    look = """
    const shown = () => document.querySelector("#candidate-3 img").checkVisibility();
    const told = [shown()];
    document.querySelector("details.candidates summary").click();
    told.push(shown());
    """
    page = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert run_in_browser(page, look, tmp_path) == [False, True]


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, False), (1400, True)])
def test_every_text_stands_out_from_its_ground(page, tmp_path, width, dark):
    unfolded = page.replace("<details ", "<details open ")
    told = run_in_browser(unfolded, CONTRAST, tmp_path, width, dark=dark)
    assert len(told) > 60
    assert [row for row in told if row[0] < 4.5] == []
