"""Every code that a training and its tracking may give, and what it means.

In: nothing. Out: `TRAINING_CODES`. What reading, writing and data sets may give stands in `lungseg3d.io.codes` and
`lungseg3d.data.codes`. `E_` ends the training; `W_` is said once and it goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

TRAINING_CODES: Mapping[str, str] = MappingProxyType(
    {
        "E_CHECKPOINT": "last.pt cannot be read, is not complete, or is of another version.",
        "E_CLASS_COUNT": "A network or a label has other classes than the bundle.",
        "E_EMPTY_FOLD": "No held-out case has a labelled voxel, and an early stop or a schedule follows the metric.",
        "E_LOSS_NOT_FINITE": "A loss or gradient is NaN or infinite.",
        "E_NO_FOREGROUND": "No case to train on has a labelled voxel on the working grid.",
        "E_NO_TRAINING_CASES": "There is no case to train on.",
        "E_OTHER_TRAINING": "last.pt belongs to a training with other settings, cases, voxels or labels.",
        "W_CACHE_DAMAGED": "A file of the cache is damaged; the case was prepared again.",
        "W_CACHE_NOT_WRITTEN": "The cache cannot be written; cases are prepared by each training.",
        "W_EMPTY_FOLD": "No held-out case has a labelled voxel: no validation, and no best.pt.",
        "W_TRACKING_FAULT": "Tracking failed in a way that has no code of its own.",
        "W_TRACKING_FILES": "Some files could not be tracked.",
        "W_TRACKING_JOURNAL": "The journal of tracking cannot be written.",
        "W_TRACKING_OFFLINE": "The tracking store does not answer; `replay` sends the rest later.",
        "W_TRACKING_REFUSED": "The tracking store refuses an entry for good.",
        "W_TRACKING_UNSENT": "Not all of a run has reached the tracking store.",
        "W_UNDEFINED_METRIC": "A validation metric is not a number; no best.pt is chosen by it.",
    }
)
