"""Those of many cases that have something at all, for groups that look for it.

In: cases, a key of masks. Out: fewer cases, the same ones. Knows no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


class CasesWith(Sequence[Mapping[str, Any]]):
    """The cases whose mask under `key` is not empty.

    Args:
        cases: prepared cases, all of which are looked at now.
        key: of a mask.
    """

    def __init__(self, cases: Sequence[Mapping[str, Any]], key: str) -> None:
        kept = [i for i in range(len(cases)) if bool(torch.as_tensor(cases[i][key]).any())]
        entries = getattr(cases, "data", cases)
        self.cases, self.data = [cases[i] for i in kept], [entries[i] for i in kept]

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, i: Any) -> Any:
        return self.cases[i]
