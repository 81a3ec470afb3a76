"""How candidates are shown to a network that judges them one by one: in windows, several at once.

In: numbers of a configuration. Out: `CandidateWindows`. Knows no network and no image.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CandidateWindows:
    """What `JudgeCandidatesd` and `SecondLookd` have in common.

    Attributes:
        roi_size: side of a candidate's window in voxels.
        doubt: a mean of views no farther than this from the decision is computed again in fp32, as bfloat16 is not
            enough to tell so close to it.
        batch_size: windows run at once.
    """

    roi_size: int = 48
    doubt: float = 0.0
    batch_size: int = 8
