"""Which of several series is read: the one that shows the lungs, by its content or its header, and why is said."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lungseg3d.core import Volume
from lungseg3d.io import find_cases, find_source_series, inspect, open_ct

_SPACING_MM = (8.0, 8.0)
_X, _Y = np.meshgrid((np.arange(44) - 21.5) * 8, (np.arange(36) - 17.5) * 8, indexing="ij")


def body(
    kind: str, length_mm: float, step_mm: float, lungs_mm: tuple[float, float] = (0, 0), low_mm: float = 0
) -> Volume:
    """A chest, belly or head of a length, from `low_mm` upward; lungs between two heights (of a belly: its gas)."""
    slices = round(length_mm / step_mm)
    heights = low_mm + step_mm * np.arange(slices)
    size = (70, 90) if kind == "head" else (150, 110)
    inside = (_X / size[0]) ** 2 + (_Y / size[1]) ** 2 <= 1
    plane = np.where(inside, 40.0, -1000.0)
    if kind == "head":
        plane[inside & ((_X / 60) ** 2 + (_Y / 80) ** 2 > 1)] = 900
        plane[(np.abs(_X) < 16) & (np.abs(_Y + 50) < 20)] = -1000  # a sinus
    lung = ((np.abs(_X) - 75) / 55) ** 2 + (_Y / 80) ** 2 <= 1
    hu = np.repeat(plane[:, :, None], slices, axis=2)
    hu[lung[:, :, None] & ((heights >= lungs_mm[0]) & (heights < lungs_mm[1]))] = -850
    hu += np.random.default_rng(slices).normal(0, 10, hu.shape)
    affine = np.diag([*_SPACING_MM, step_mm, 1.0])
    affine[:3, 3] = (-176, -144, low_mm)
    return Volume(np.rint(hu).astype(np.int16), affine)


CHEST = body("chest", 300, 5, (20, 280))
ABDOMEN = body("belly", 320, 2.5, (280, 320))
HEAD = body("head", 200, 1.25)
WHOLE_BODY = body("chest", 960, 8, (500, 760))
KINDS = {"head": HEAD, "abdomen": ABDOMEN, "whole body": WHOLE_BODY}


@pytest.fixture
def study(make_series, tmp_path):
    """`study({name: (volume, tags)}, order)` -> (folder of all, {SeriesInstanceUID: name})."""
    count = itertools.count()

    def write(series: dict, reverse: bool = False):
        folder = tmp_path / f"study-{next(count)}"
        uids = {}
        for number, (name, (volume, tags)) in enumerate(series.items(), 1):
            made = make_series(volume, number=number, **tags.pop("spec", {}))
            for dataset in made.slices:
                del dataset.SeriesDescription
                for keyword, value in tags.items():
                    setattr(dataset, keyword, value)
            uids[str(made.slices[0].SeriesInstanceUID)] = name
            made.write(folder / f"{9 - number if reverse else number}")
        return folder, uids

    return write


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"right": {"BodyPartExamined": "CHEST"}, "wrong": {"BodyPartExamined": "HEAD"}},
        {
            "right": {"BodyPartExamined": "HEAD"},
            "wrong": {"BodyPartExamined": "CHEST", "SeriesDescription": "Thorax 1.0"},
        },
    ],
    ids=["absent headers", "true headers", "lying headers"],
)
def test_the_chest_is_read_beside_thinner_series_of_other_parts_whatever_headers_say(study, other, headers, reverse):
    thin = KINDS[other]
    chest = body("chest", 300, 2.5, (20, 280)) if other == "whole body" else CHEST
    folder, uids = study(
        {other: (thin, dict(headers.get("wrong", {}))), "chest": (chest, dict(headers.get("right", {})))}, reverse
    )
    found = inspect(folder)
    assert uids[found.chosen] == "chest"
    (issue,) = [issue for issue in found.issues if issue.code == "W_MULTI_SERIES"]
    assert "shows the lungs" in issue.message or "thinnest" in issue.message
    assert all(uid in issue.message for uid in uids)


@pytest.mark.parametrize(
    ("chest", "other"),
    [
        ({"SeriesDescription": "Thorax 5.0"}, {"SeriesDescription": "Schädel 1.0"}),
        ({"ProtocolName": "Tórax"}, {"ProtocolName": "Cráneo"}),
        ({"SeriesDescription": "胸部"}, {"SeriesDescription": "頭部"}),
        ({"SeriesDescription": "Poumons"}, {}),
        ({}, {"BodyPartExamined": "ABDOMEN"}),
        ({"BodyPartExamined": "ABDOMEN", "SeriesDescription": "Lunge"}, {"BodyPartExamined": "ABDOMEN"}),
    ],
)
def test_where_no_lungs_are_seen_in_any_series_the_header_decides(study, chest, other):
    white = body("chest", 300, 5)
    for tags in (chest, other):
        tags["SpecificCharacterSet"] = "ISO_IR 192"
    folder, uids = study({"other": (body("belly", 300, 2.5), dict(other)), "chest": (white, dict(chest))})
    found = inspect(folder)
    assert uids[found.chosen] == "chest"


def test_gas_of_a_bowel_is_no_match_for_a_chest_without_air(study):
    gas = body("belly", 200, 2.5, (0, 20))
    folder, uids = study(
        {
            "belly": (gas, {"BodyPartExamined": "ABDOMEN"}),
            "chest": (body("chest", 300, 5), {"BodyPartExamined": "CHEST"}),
        }
    )
    assert uids[inspect(folder).chosen] == "chest"


def test_a_chest_with_a_gap_is_refused_rather_than_another_part_read(study, make_series, tmp_path, refusal):
    folder, _ = study({"head": (HEAD, {"BodyPartExamined": "HEAD"})})
    gap = make_series(CHEST, number=7)
    del gap.slices[30]
    for dataset in gap.slices:
        dataset.BodyPartExamined = "CHEST"
    gap.write(folder / "gap")
    error = refusal(folder)
    assert error.code == "E_MISSING_SLICES"


THIN = body("chest", 300, 2.5, (20, 280))
OTHERS = {
    "sharper kernel": (THIN, {"spec": {"kernel": "B70f"}}),
    "thicker slices, 5.00 mm": (CHEST, {}),
    "derived images": (THIN, {"ImageType": ["DERIVED", "SECONDARY", "MIP"]}),
    "head by its header, no lungs seen": (HEAD, {"BodyPartExamined": "HEAD"}),
    "less lung": (body("chest", 100, 1.25, (0, 200), low_mm=100), {}),
}


@pytest.mark.parametrize("why", OTHERS)
def test_another_series_is_told_with_what_it_lost_by(study, why):
    volume, tags = OTHERS[why]
    folder, uids = study({"other": (volume, dict(tags)), "soft": (THIN, {"spec": {"kernel": "B30f"}})})
    found = inspect(folder)
    assert uids[found.chosen] == "soft"
    (issue,) = [issue for issue in found.issues if issue.code == "W_MULTI_SERIES"]
    (other,) = (uid for uid, name in uids.items() if name == "other")
    assert why in issue.message.split(other)[1]
    assert found.reason in issue.message


def test_dicom_objects_and_trees_take_the_same_series(study):
    folder, uids = study({"head": (HEAD, {}), "chest": (CHEST, {})})
    assert uids[str(find_source_series(folder).headers[0].SeriesInstanceUID)] == "chest"
    (source,) = find_cases(folder).sources
    assert open_ct(source.path).volume.shape[2] == CHEST.shape[2]


def test_no_words_of_a_header_reach_the_record(study):
    folder, _ = study(
        {"head": (HEAD, {"SeriesDescription": "Doe head"}), "chest": (CHEST, {"ProtocolName": "thorax Doe^Jane"})}
    )
    assert "Doe" not in str(inspect(folder).to_json())
