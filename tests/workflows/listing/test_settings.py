"""The settings file of an operating point: written, read, and refused with the reason."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lungseg3d.core import LowConfidence, UsageError
from lungseg3d.metrics import OperatingPoint, bootstrap_ratio
from lungseg3d.workflows.listing.settings import Settings, read_settings, settings_text

MADE_POINT = OperatingPoint(0.8123456789, 1.0, bootstrap_ratio([1, 0], [1, 1]), bootstrap_ratio([1, 1], [1, 2]), 2, 3)


@pytest.mark.parametrize(("is_calibrated", "key"), [(True, "least_calibrated_confidence"), (False, "least_confidence")])
def test_settings_come_back_as_they_were_written(tmp_path, is_calibrated, key):
    path = tmp_path / "settings.json"
    text = settings_text(MADE_POINT, "ab" * 32, {"manifest": "made"}, is_calibrated=is_calibrated)
    path.write_text(text, encoding="utf-8")
    settings = read_settings(path)
    assert settings == replace(Settings(), weights_sha256="ab" * 32, **{key: 0.8123456789})
    assert settings.issues("ab" * 32) == []
    (issue,) = settings.issues("cd" * 32)
    assert (issue.code, "calibrated confidence of 0.812" in issue.message) == (
        "W_OTHER_OPERATING_POINT",
        is_calibrated,
    )
    assert settings.facts == {key: 0.8123456789}
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["schema_version"] == 2
    assert content["chosen"]["asked_false_positives_a_scan"] == 1
    assert content["chosen"]["sensitivity"]["mean"] == pytest.approx(2 / 3, abs=1e-6)


def test_settings_of_version_1_are_read_and_strange_ones_are_refused_with_the_reason(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"schema_version": 1, "least_confidence": 0.25, "weights_sha256": ""}', encoding="utf-8")
    assert read_settings(path) == Settings(0.25)
    for bad, said in (
        ('{"least_confidence": 2}', "least_confidence is 2"),
        ('{"least_calibrated_confidence": -0.1}', "least_calibrated_confidence is -0.1"),
        ('{"least_calibrated_confidence": true}', "least_calibrated_confidence is True"),
        ('{"least_confidence": 0.5, "least_calibrated_confidence": 0.5}', "both are given"),
        ("[]", "expected keys and values, found list"),
        ("{}", "neither is given"),
        ('{"least_confidence": 0.5, "leest": 1}', "unknown: leest"),
        ('{"least_confidence": 0.5, "schema_version": 3}', "schema_version 3, expected 2 or 1"),
        ("no json", "Expecting value"),
    ):
        path.write_text(bad, encoding="utf-8")
        with pytest.raises(UsageError, match="E_SETTINGS") as caught:
            read_settings(path)
        assert said in str(caught.value)


def test_a_settings_file_may_say_below_what_a_nodule_is_marked(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(
        '{"least_confidence": 0, "low_confidence": 0.9, "low_calibrated_confidence": 0.3}', encoding="utf-8"
    )
    settings = read_settings(path)
    assert settings == Settings(low=LowConfidence(calibrated=0.3, uncalibrated=0.9))
    assert settings.facts == {"low_confidence": 0.9, "low_calibrated_confidence": 0.3}
    assert Settings().facts == {}
    path.write_text('{"least_confidence": 0, "low_confidence": "often"}', encoding="utf-8")
    with pytest.raises(UsageError, match="low_confidence is 'often', expected a number from 0 to 1"):
        read_settings(path)
