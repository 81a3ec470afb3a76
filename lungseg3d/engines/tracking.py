"""Names for tracked runs.

In: a prefix. Out: a name that no other run has.
"""

from __future__ import annotations

import uuid


def unique_run_name(prefix: str) -> str:
    """`prefix` and eight random hexadecimal digits: with MLflow's default name a killed run swallows the next one."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"
