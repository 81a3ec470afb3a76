"""A comparison in MLflow: one run that holds all members and the tables; on each member its held-out metrics.

In: a `ComparisonPlan`, then what came of it. Out: runs in the store that the members write to, by way of journals: that
of the comparison's folder and those of its members, which `lungseg3d replay` sends when the store was away. A failure
here is a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.tracking.run import TrackedRun, add_metrics
from lungseg3d.tracking.store import Store, tracking_uri_of, what_failed, without_password
from lungseg3d.workflows.compare.plan import ComparisonPlan, member_name, parent_name
from lungseg3d.workflows.compare.tables import METRICS

logger = logging.getLogger(__name__)


def open_parent(plan: ComparisonPlan) -> None:
    """Make the store and the run that holds all: by one process, before several would do it at once."""
    uri = tracking_uri_of(plan.out)
    try:
        Store(uri, plan.out).parent_run(plan.experiment, parent_name(plan.out))
    except Exception as error:
        logger.warning(f"W_TRACKING_OFFLINE: {without_password(uri)}: {what_failed(error)}")


def track_comparison(
    plan: ComparisonPlan, records: Sequence[Mapping[str, Any]], comparison: Mapping[str, Any], files: Sequence[Path]
) -> None:
    """The means of every network and the written files onto the parent, those of every member onto its own run."""
    try:
        _track_parent(plan, comparison, files)
        _track_members(plan, records)
    except Exception as error:
        logger.warning(f"W_TRACKING_FAULT: {type(error).__name__}: {error}")


def _track_parent(plan: ComparisonPlan, comparison: Mapping[str, Any], files: Sequence[Path]) -> None:
    run = TrackedRun(plan.out.absolute(), tracking_uri_of(plan.out), parent_name(plan.out))
    run.start_shared(plan.experiment)
    values = {
        f"{metric}/{row['structure'].replace(' ', '_')}/{row['network']}": row[metric]["mean"]
        for row in comparison["networks"]
        for metric in METRICS
        if row[metric]["mean"] is not None
    }
    run.log("metrics", step=0, values=values)
    for path in files:
        run.log_file("artifact", path, under="")
    run.end(None)
    run.close()


def _track_members(plan: ComparisonPlan, records: Sequence[Mapping[str, Any]]) -> None:
    uri, failure = tracking_uri_of(plan.out), None
    unsent: list[Path] = []
    for record in records:
        if record["status"] != "done":
            continue
        folder = plan.out.absolute() / "members" / record["folder"]
        prefix = member_name(record["network"], record["fold"], record["seed"]) + "-"
        values = {f"held_out/{key}": value for key, value in _means(record).items()}
        # A store that was away for one member is not waited for by the others.
        left = add_metrics(folder, uri, prefix, values, is_sent=failure is None)
        if left:
            failure = failure or left
            unsent.append(folder)
    if unsent:
        logger.warning(
            f"W_TRACKING_OFFLINE: {without_password(uri)}: {failure}. The held-out metrics of {len(unsent)} members "
            f"are kept in their tracking.jsonl. Afterwards, for each folder of {unsent[0].parent}: "
            "lungseg3d replay FOLDER"
        )


def _means(record: Mapping[str, Any]) -> dict[str, float]:
    """Mean of every metric over the cases of one member, where it is defined."""
    found: dict[str, list[float]] = {}
    for case in record["cases"]:
        for structure, values in case["structures"].items():
            for metric in METRICS:
                if values[metric] is not None:
                    found.setdefault(f"{metric}/{structure.replace(' ', '_')}", []).append(values[metric])
    return {key: float(np.mean(values)) for key, values in found.items()}
