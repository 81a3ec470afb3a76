"""What is looked at after segmentation: how the image lies, whether the lungs are whole, whether they are diseased.

In: a CT and what the networks made of it. Out: `Checked`, warnings and the record behind them. Everything is computed
on a grid of 4 mm, in about half a second for a CT of 512 x 512 x 300 voxels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lungseg3d.analysis import (
    check_disease,
    check_lungs,
    check_orientation,
    compare_lungs,
    find_orientation,
    measure_disease,
    segment_lungs_by_rules,
)
from lungseg3d.core import QualityIssue, Volume
from lungseg3d.core.labels import NODULE
from lungseg3d.tensors import orthogonalise, resample
from lungseg3d.workflows.segment.networks import Segmented

QUALITY_SPACING_MM = 4.0


@dataclass(frozen=True)
class Checked:
    """Warnings, and what was measured, as `CaseResult.checks` holds it."""

    issues: tuple[QualityIssue, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)


def check_segmented(ct: Volume, found: Segmented, roi: str) -> Checked:
    """Look at one segmented CT.

    The lungs of a crop (`roi` is `full`) are not looked at, as none is whole. An image that is turned against its
    header makes no statement about disease: its lungs were segmented in a position that the network does not know.
    """
    coarse_ct = resample(orthogonalise(ct), QUALITY_SPACING_MM)
    orientation = find_orientation(coarse_ct)
    issues, record = check_orientation(orientation), {"orientation": orientation.to_json()}
    if roi == "full":
        return Checked(tuple(issues), record)
    labels = _coarse(found.labels)
    lung_issues = check_lungs(found.labels, coarse_ct)
    issues += [*lung_issues, *compare_lungs(labels, segment_lungs_by_rules(coarse_ct))]
    if not orientation.reasons and "W_NO_LUNG" not in {issue.code for issue in lung_issues}:
        disease = measure_disease(coarse_ct, _coarse(found.lungs), labels.with_array(labels.array == NODULE.value))
        issues += check_disease(disease)
        record["disease"] = disease.to_json()
    return Checked(tuple(issues), record)


def _coarse(labels: Volume) -> Volume:
    return resample(orthogonalise(labels, order=0, fill=0), QUALITY_SPACING_MM, labels=True)
