"""What the record of a segmented case says of its findings: how sure they are, and which of them are listed.

In: a `result.json` of schema 1 or 2. Out: `Results`. A record of another form says nothing, and stops nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lungseg3d.core import NO_LUNGS
from lungseg3d.io import CaseFolder, joined_sha256


@dataclass(frozen=True)
class Finding:
    """One finding of a record.

    Attributes:
        confidence, calibrated_confidence: 0 to 1; None where the record does not say.
        kind: `solid`, `part-solid` or `ground-glass`; empty where the record does not say.
        reason: why it is a candidate; empty for a listed one.
        is_listed: whether it stands in the list of nodules; all findings of schema 1 do.
        voxels_mm3: volume of its voxels; 0 where the record does not say.
    """

    confidence: float | None = None
    calibrated_confidence: float | None = None
    kind: str = ""
    reason: str = ""
    is_listed: bool = True
    voxels_mm3: float = 0.0


@dataclass(frozen=True)
class Results:
    """What a record says.

    Attributes:
        findings: by their number.
        point: `CaseResult.operating_point`; empty in records of schema 1.
        weights_sha256: of the networks behind the confidences, as `Bundle.confidence_sha256`; empty where not said.
    """

    findings: Mapping[int, Finding] = field(default_factory=dict)
    point: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""


def read_results(folder: CaseFolder) -> Results:
    """What the record of a case says; empty where it cannot be read or is of another form."""
    try:
        record = folder.content()
        findings = {int(row["id"]): _finding(row, True) for row in record.get("nodules", ())}
        findings |= {int(row["id"]): _finding(row, False) for row in record.get("candidates", ())}
        point = record.get("operating_point") or {}
        return Results(findings, dict(point), _weights_of(record))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Results()


def has_no_lungs(folder: CaseFolder) -> bool:
    """True where the record says that no lung was found: its empty masks are no statement about nodules."""
    try:
        return bool(folder.content()["status"] == NO_LUNGS)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _finding(row: Mapping[str, Any], is_listed: bool) -> Finding:
    sure, calibrated = (_share(row.get(key)) for key in ("confidence", "calibrated_confidence"))
    reason = "" if is_listed else str(row.get("reason") or "")
    volume_mm3 = float(row.get("voxel_sum_mm3") or row.get("volume_mm3") or 0.0)
    return Finding(sure, calibrated, str(row.get("kind") or ""), reason, is_listed, volume_mm3)


def _share(value: Any) -> float | None:
    return float(value) if value is not None and 0 <= float(value) <= 1 else None


def _weights_of(record: Mapping[str, Any]) -> str:
    try:
        about = record["provenance"]["bundles"]["nodules"]
        return joined_sha256(str(about["weights_sha256"]), str(about.get("judge_sha256", "")))
    except (KeyError, TypeError, AttributeError):
        return ""
