"""What the results of a batch depend on, beside their inputs: weights, configurations, options, the program.

In: `SegmentOptions`. Out: plain facts and their SHA-256. Results of two identities never mix unasked. Opens no bundle.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lungseg3d import __version__
from lungseg3d.core import BundleError, to_json
from lungseg3d.io import bundle_folder, sha256_of, shipped_bundle
from lungseg3d.workflows.segment.formats import needs_dicom
from lungseg3d.workflows.segment.options import SegmentOptions

_BUNDLES = {"lung_bundle": "lung_ct_segmentation", "nodule_bundle": "lung_nodule_ct_segmentation"}
_NOT_OF_THE_RESULT = ("overwrite", "recursive", "write_timings", "trust_bundle", "max_memory_gib", "follow_links")
_TRAINS = re.compile(r"train|evaluate")  # configurations that no result depends on
_MOST_DIFFERENCES = 4


@dataclasses.dataclass(frozen=True)
class Identity:
    """Facts, and the sum by which the journal knows them."""

    facts: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """Of the facts as JSON with sorted keys."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()

    @property
    def weights(self) -> dict[str, str]:
        """Role of a bundle -> SHA-256 of its weights."""
        return {role: files.get("models/model.pt", "") for role, files in self.facts["bundles"].items()}


def identity_of(options: SegmentOptions, threads: int) -> Identity:
    """What the results will depend on.

    Args:
        options: of `segment`; every field counts but those that say what happens to files.
        threads: of each worker, as sums of floats depend on how they are shared out.

    Raises:
        BundleError: E_NO_BUNDLE when a bundle has no weights or no configuration.
    """
    left_out = (*_NOT_OF_THE_RESULT, *_BUNDLES, *(() if needs_dicom(options.formats) else ("dates",)))
    counted = [f.name for f in dataclasses.fields(options) if f.name not in left_out and _is_counted(f, options)]
    asked = {name: _plain(getattr(options, name)) for name in counted}
    roots = {role: bundle_folder(getattr(options, role) or shipped_bundle(name)) for role, name in _BUNDLES.items()}
    bundles = {role: dict(_files(root)) for role, root in roots.items()}
    return Identity({"version": __version__, "bundles": bundles, "options": {**asked, "threads": threads}})


def _plain(value: Any) -> Any:
    """A value as JSON; of a file its content counts, and its path, which may name a patient, is not kept."""
    if isinstance(value, Path):
        return sha256_of(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if _is_counted(f, value)}
    return to_json(value)


def _is_counted(option: dataclasses.Field[Any], options: Any) -> bool:
    """Whether results depend on an option: not where it came later than the first batches and has its default."""
    is_later = option.metadata.get("since") is not None
    is_counted = option.compare and option.name not in _NOT_OF_THE_RESULT
    return is_counted and not (is_later and getattr(options, option.name) == option.default)


def _files(root: Path) -> Iterator[tuple[str, str]]:
    needed = [root / "configs" / "inference.json", root / "configs" / "metadata.json", root / "models" / "model.pt"]
    for path in needed:
        if not path.is_file():
            raise BundleError("E_NO_BUNDLE", f"{root} is not a trained bundle: {path.relative_to(root)} is missing")
    more = [*(root / "models").iterdir(), *(root / "configs").glob("*.json")]
    for path in sorted({*needed, *(path for path in more if path.is_file() and not _TRAINS.search(path.name))}):
        yield path.relative_to(root).as_posix(), sha256_of(path)


def fact_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What differs between two sets of facts, in words, at most four of them."""
    one, other = dict(_flat(there)), dict(_flat(here))
    found = [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)]
    said = [f"{key} {_short(one.get(key))} there, {_short(other.get(key))} here" for key in found[:_MOST_DIFFERENCES]]
    more = f"; and {len(found) - _MOST_DIFFERENCES} more" if len(found) > _MOST_DIFFERENCES else ""
    return "; ".join(said) + more


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}: ")
        else:
            yield f"{prefix}{key}", value


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return f"{text[:12]}..." if len(text) > 40 else text
