"""The operating points that a nodule bundle keeps: `configs/operating_points.json`.

In: a bundle. Out: from which calibrated confidence findings are listed, and what that was measured to cost. Without the
file, or with one of other weights or another rule, there is no point, and everything that was found is listed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungseg3d.core import BundleError, QualityIssue, UsageError
from lungseg3d.io import read_once

POINTS = "configs/operating_points.json"
SCHEMA_VERSION = 1
DEFAULT_POINT = "default"
POINT_NAMES = "default, sensitive or fp=N (N false findings a scan)"
_RATE = re.compile(r"fp=([0-9]+(?:\.[0-9]+)?)")
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class ListingPoint:
    """From where findings are listed, and what that costs.

    Attributes:
        name: `default`, `sensitive` or `fp=N`.
        least_confidence: kind of nodule -> calibrated confidence, 0 to 1, from which on it is listed.
        false_findings_a_scan, sensitivity: as measured on patients that neither weights nor thresholds had seen:
            `value`, and where it was computed the 95 % interval `low`, `high`.
        population: what they were measured on, in words.
        size_floor_mm: diameter of the smallest nodules that were looked for there; None where the file does not say.
    """

    name: str
    least_confidence: Mapping[str, float]
    false_findings_a_scan: Mapping[str, float] = field(default_factory=dict)
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    population: str = ""
    size_floor_mm: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As `CaseResult.operating_point` holds it."""
        measured = {"false_findings_a_scan": self.false_findings_a_scan, "sensitivity": self.sensitivity}
        known = {key: dict(value) for key, value in measured.items() if value}
        text = {"population": self.population} if self.population else {}
        floor = {} if self.size_floor_mm is None else {"size_floor_mm": self.size_floor_mm}
        return {"name": self.name, "least_confidence": dict(self.least_confidence), **known, **text, **floor}


@dataclass(frozen=True)
class OperatingPoints:
    """All points of a bundle.

    Attributes:
        points: by name.
        asked: false findings a scan for which the thresholds were picked, ascending; (N,).
        rates, sensitivities: false findings a scan and share of the nodules listed, as measured there; (N,).
        thresholds: kind of nodule -> calibrated confidence from which on it is listed at each, (N,).
        facts: the rest of the file: population, size floor, by size and texture.
    """

    points: Mapping[str, ListingPoint]
    asked: Sequence[float]
    rates: Sequence[float]
    sensitivities: Sequence[float]
    thresholds: Mapping[str, Sequence[float]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def find(self, name: str) -> ListingPoint:
        """The point of a name; `fp=N` is the one that was picked for at most N false findings a scan.

        Raises:
            UsageError: E_BAD_OPTION for another name, or fewer false findings than the curve knows.
        """
        check_point_name(name)
        if name in self.points:
            return self.points[name]
        match = _RATE.fullmatch(name)
        if match is None:
            raise UsageError("E_BAD_OPTION", f"the bundle has no operating point {name}.", f"Known: {POINT_NAMES}.")
        within = [place for place, rate in enumerate(self.asked) if rate <= float(match[1])]
        if not within:
            text = f"fp={match[1]}: the curve of the bundle begins at {self.asked[0]:g} false findings a scan."
            raise UsageError("E_BAD_OPTION", text, "Ask for more.")
        least = {kind: float(values[within[-1]]) for kind, values in self.thresholds.items()}
        rate, share = ({"value": float(of[within[-1]])} for of in (self.rates, self.sensitivities))
        one = next(iter(self.points.values()), ListingPoint(name, {}))
        return ListingPoint(name, least, rate, share, one.population, one.size_floor_mm)


def check_point_name(name: str) -> None:
    """Whether a name is one of `POINT_NAMES`; a bundle need not have it.

    Raises:
        UsageError: E_BAD_OPTION.
    """
    match = _RATE.fullmatch(name)
    if name not in (DEFAULT_POINT, "sensitive") and not (match and float(match[1]) > 0):
        raise UsageError("E_BAD_OPTION", f"operating point {name!r} is not known.", f"Known: {POINT_NAMES}.")


def read_points(
    bundle: Path, weights_sha256: str, rule_sha256: str
) -> tuple[OperatingPoints | None, list[QualityIssue]]:
    """The points of a bundle, where it has some for these weights and this rule.

    Args:
        bundle: its folder.
        weights_sha256: of the networks behind its confidences, `Bundle.confidence_sha256`.
        rule_sha256: of its configuration, `Bundle.rule_sha256`.

    Returns:
        The points, or None; then the one issue says why: W_NO_OPERATING_POINT where there are none,
        W_OTHER_OPERATING_POINT where they are those of other weights or another rule.

    Raises:
        BundleError: E_OPERATING_POINTS for a file that holds none.
    """
    path = bundle / POINTS
    if not path.is_file():
        text = f"{bundle.name} has no measured operating point, so everything that it found is listed."
        return None, [QualityIssue("W_NO_OPERATING_POINT", text, "Expect more false findings in the list.")]
    try:
        content = json.loads(read_once(path, _MOST_BYTES))
        points = _points_of(content)
        sums = {"weights": str(content["weights_sha256"]), "rule": str(content["rule_sha256"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        text = f"{path}: no operating points ({type(error).__name__}: {error})."
        raise BundleError("E_OPERATING_POINTS", text, "Take the bundle's own file again, or remove it.") from error
    here = {"weights": weights_sha256, "rule": rule_sha256}
    changed = [name for name, known in sums.items() if known != here[name]]
    if not changed:
        return points, []
    what = {"weights": "other weights", "rule": "other settings in configs/inference.json"}
    text = f"the operating points of {bundle.name} were measured with {' and '.join(what[name] for name in changed)}"
    text += " and no longer hold: everything that was found is listed."
    return None, [QualityIssue("W_OTHER_OPERATING_POINT", text, "Measure them again, or take the bundle's own files.")]


def _points_of(content: Mapping[str, Any]) -> OperatingPoints:
    if content["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version {content['schema_version']}, expected {SCHEMA_VERSION}")
    population = str(content["population"]["text"])
    floor_mm = float(content["size_floor_mm"]) if content.get("size_floor_mm") is not None else None
    points = {}
    for name, point in content["points"].items():
        least = {str(kind): _share(value) for kind, value in point["least_confidence"].items()}
        rate, share = (
            {key: float(value) for key, value in point[of].items() if value is not None}
            for of in ("false_findings_a_scan", "sensitivity")
        )
        points[str(name)] = ListingPoint(str(name), least, rate, share, population, floor_mm)
    curve = content["curve"]
    asked, rates = (tuple(map(float, curve[f"{of}false_findings_a_scan"])) for of in ("asked_", ""))
    shares = tuple(_share(share) for share in curve["sensitivity"])
    thresholds = {str(kind): tuple(map(_share, values)) for kind, values in curve["least_confidence"].items()}
    if not rates or any(len(values) != len(asked) for values in (rates, shares, *thresholds.values())):
        raise ValueError("the columns of the curve are not of one length")
    if DEFAULT_POINT not in points or list(asked) != sorted(asked):
        raise ValueError("there is no default point, or its rates do not rise")
    left = ("schema_version", "weights_sha256", "rule_sha256", "points", "curve")
    facts = {key: value for key, value in content.items() if key not in left}
    return OperatingPoints(points, asked, rates, shares, thresholds, facts)


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{value!r}, expected a number from 0 to 1")
    return float(value)
