"""Which weights made the predictions that are evaluated, and whether their training saw the cases.

In: the cases, their predictions, a bundle or what the results of `segment` say. Out: a warning, checksums.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lungseg3d.core import BundleError, QualityIssue
from lungseg3d.data import trained_on, trained_on_issue
from lungseg3d.inference import shipped_bundle
from lungseg3d.io import CaseFolder, joined_sha256, sha256_of
from lungseg3d.workflows.evaluate.predictions import Predictions


def trained_on_warnings(
    content: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], predictions: Predictions, bundle: Path | None
) -> list[QualityIssue]:
    """W_TRAINED_ON for cases that the weights have seen, as far as their bundle says."""
    chosen = {entry["case_id"] for entry in entries}
    cases = [case for case in content["cases"] if case["case_id"] in chosen]
    bundles = [bundle] if bundle else _bundles_of(entries, predictions)
    seen = {case.case_id: case for root in bundles for case in trained_on(root, cases, content.get("name", ""))}
    issue = trained_on_issue(list(seen.values()), len(cases))
    return [issue] if issue else []


def _bundles_of(entries: Sequence[Mapping[str, Any]], predictions: Predictions) -> list[Path]:
    """The shipped bundles whose weights the first result of `segment` names by their checksum."""
    found: list[Path] = []
    # A record that says it in another way, or of weights that did not ship, names no bundle that is known here.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, BundleError):
        for about in _named_bundles(entries, predictions).values():
            root = shipped_bundle(about["name"])
            if sha256_of(root / "models" / "model.pt") == about["weights_sha256"]:
                found.append(root)
    return found


def weights_of(entries: Sequence[Mapping[str, Any]], predictions: Predictions) -> str:
    """SHA-256 of the networks behind the predictions' confidences; empty where they do not say."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        about = _named_bundles(entries, predictions)["nodules"]
        return joined_sha256(str(about["weights_sha256"]), str(about.get("judge_sha256", "")))
    return ""


def _named_bundles(entries: Sequence[Mapping[str, Any]], predictions: Predictions) -> dict[str, Any]:
    """What the first result of `segment` says of its bundles; empty without a result."""
    found_maps = (predictions.find_any(entry) for entry in entries)
    folders = (CaseFolder(path.parent) for path in found_maps if path is not None)
    first = next((folder for folder in folders if folder.has_record), None)
    return first.content()["provenance"]["bundles"] if first else {}
