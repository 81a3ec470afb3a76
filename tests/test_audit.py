"""Floors exclude the versions that are known to be vulnerable, and an audit that skipped is none."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / ".ci" / "audit.py").is_file(), reason="a source archive without .ci")


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_floor_permits_a_version_that_is_known_to_be_vulnerable(audit):
    advisories = json.loads((ROOT / ".ci" / "advisories.json").read_text())
    assert len(advisories) >= 10
    assert all(advisory["source"].startswith("https://") for advisory in advisories)
    assert audit.complaints(advisories, audit.floors(ROOT / "pyproject.toml")) == []


def test_a_floor_below_a_fix_is_a_complaint_unless_accepted_with_a_reason(audit):
    advisory = {"package": "no-such-package", "id": "CVE-1", "fixed": "2.0", "source": "https://x"}
    assert audit.complaints([advisory], {"no-such-package": Version("2.0")}) == []
    assert len(audit.complaints([advisory], {"no-such-package": Version("1.9")})) == 1
    assert len(audit.complaints([advisory], {})) == 1
    assert audit.complaints([advisory | {"accepted": "because"}], {}) == []
    assert len(audit.complaints([advisory | {"package": "pytest", "fixed": "9999"}], {"pytest": Version("9999")})) == 1


def test_what_was_skipped_was_not_audited(audit):
    good = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "1", "vulns": [{"id": "CVE-2", "fix_versions": ["2"]}]}
    skipped = {"name": "c", "skip_reason": "not found on PyPI"}
    ours = {"name": "lungseg3d", "skip_reason": "not on PyPI"}
    assert audit.verdict({"dependencies": [good, ours]})[0] == 0
    assert audit.verdict({"dependencies": [good, bad, skipped]})[0] == audit.FOUND
    assert audit.verdict({"dependencies": [good, skipped]})[0] == audit.NOT_AUDITED
    assert audit.verdict({"dependencies": [ours]})[0] == audit.NOT_AUDITED
