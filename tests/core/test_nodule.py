"""A nodule's parts against its flat record: keys, order, records of earlier versions, what is missing."""

import json

import pytest

from lungseg3d.core import to_json
from lungseg3d.core.nodule import RECORD_KEYS, Certainty, SizeClasses, SolidPart, nodule_of, nodule_record
from tests.support.nodule_records import measured_nodule

# As result.json has had them since schema 2, written down by hand.
KEYS = """id volume_mm3 equivalent_diameter_mm long_axis_mm perpendicular_mm mean_hu sd_hu solid_fraction kind
centroid_ras_mm centroid_lps_mm centroid_voxel side pleura_distance_mm confidence volume_low_mm3 volume_high_mm3
mean_diameter_mm solid_long_axis_mm solid_perpendicular_mm solid_volume_mm3 third vessel_distance_mm
lung_rads_by_diameter lung_rads_by_volume fleischner_by_diameter fleischner_by_volume calibrated_confidence uncertainty
view_agreement volume_method voxel_sum_mm3 reason""".split()
FIRST = KEYS[:15]
"""What records of the first schema hold."""


def test_the_json_form_is_flat_and_keeps_its_keys_and_their_order():
    record = to_json(measured_nodule(1))
    assert list(record) == KEYS
    assert record["volume_mm3"] == 523.6
    assert record["centroid_voxel"] == [4.0, 5.0, 6.0]


def test_each_key_comes_back_from_its_own_place():
    record = {key: f"value of {key}" for key in KEYS}
    nodule = nodule_of(record)
    assert nodule_record(nodule) == record
    assert (nodule.volume.low_mm3, nodule.solid_part.volume_mm3) == (
        "value of volume_low_mm3",
        "value of solid_volume_mm3",
    )
    assert len(set(RECORD_KEYS.values())) == len(KEYS)


def test_a_record_of_the_first_schema_has_defaults_for_what_came_later_and_unknown_keys_are_left_out():
    early = {key: value for key, value in to_json(measured_nodule(7)).items() if key in FIRST}
    nodule = nodule_of({**json.loads(json.dumps(early)), "of a later version": 1})
    assert (nodule.volume.low_mm3, nodule.volume.method, nodule.position.third) == (None, "voxels", "unknown")
    assert (nodule.solid_part, nodule.size_classes, nodule.reason) == (SolidPart(), SizeClasses(), "")
    assert nodule.certainty == Certainty(0.9)


def test_the_first_names_that_a_reader_asks_for_are_short():
    nodule = measured_nodule(1)
    assert (nodule.volume_mm3, nodule.long_axis_mm, nodule.kind, nodule.side) == (523.6, 11.4, "solid", "right")


@pytest.mark.parametrize(
    ("lacking", "text"),
    [
        (["kind"], "argument: 'kind'"),
        (["id", "side"], "arguments: 'id' and 'side'"),
        (["id", "kind", "side"], "arguments: 'id', 'kind', and 'side'"),
    ],
)
def test_a_record_that_lacks_what_every_version_writes_is_refused_by_its_keys(lacking, text):
    record = {key: value for key, value in to_json(measured_nodule(1)).items() if key not in lacking}
    with pytest.raises(TypeError) as raised:
        nodule_of(record)
    expected = f"Nodule.__init__() missing {len(lacking)} required positional {text}"
    assert str(raised.value) == expected
