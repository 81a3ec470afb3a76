"""Experiment tracking: a journal on the disk first, an MLflow store when it can be reached.

`TrackedRun` is the one way to record a run; `lungseg3d replay` sends what a store could not take. Loads MLflow when a
store is opened, and never torch.
"""

from lungseg3d.tracking.journal import Journal
from lungseg3d.tracking.process_end import ProcessEnd
from lungseg3d.tracking.run import TrackedRun, unique_run_name
from lungseg3d.tracking.sender import Sender
from lungseg3d.tracking.store import Refused, Store, own_store, tracking_uri_of, what_failed, without_password

__all__ = [
    "Journal",
    "ProcessEnd",
    "Refused",
    "Sender",
    "Store",
    "TrackedRun",
    "own_store",
    "tracking_uri_of",
    "unique_run_name",
    "what_failed",
    "without_password",
]
