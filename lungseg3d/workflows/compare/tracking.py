"""A comparison in MLflow: one run that holds all members and the tables; on each member its held-out metrics.

In: a `ComparisonPlan`, then what came of it. Out: runs in the store that the members write to. A failure here is a
warning.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.tracking.store import Store, tracking_uri_of, what_failed, without_password
from lungseg3d.workflows.compare.plan import ComparisonPlan, member_name, parent_name
from lungseg3d.workflows.compare.tables import METRICS

logger = logging.getLogger(__name__)


def _never_in_the_way(action: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(action)
    def guarded(plan: ComparisonPlan, *arguments: Any) -> None:
        try:
            action(plan, *arguments)
        except Exception as error:
            uri = without_password(tracking_uri_of(plan.out))
            logger.warning(f"W_TRACKING_OFFLINE: {uri}: {what_failed(error)}")

    return guarded


@_never_in_the_way
def open_parent(plan: ComparisonPlan) -> None:
    """Make the store and the run that holds all: by one process, before several would do it at once."""
    Store(tracking_uri_of(plan.out), plan.out).parent_run(plan.experiment, parent_name(plan.out))


@_never_in_the_way
def track_comparison(
    plan: ComparisonPlan, records: Sequence[Mapping[str, Any]], comparison: Mapping[str, Any], files: Sequence[Path]
) -> None:
    """The means of every network and the written files onto the parent, those of every member onto its own run."""
    store = Store(tracking_uri_of(plan.out), plan.out)
    parent = store.parent_run(plan.experiment, parent_name(plan.out))
    experiment = store.client.get_run(parent).info.experiment_id
    for row in comparison["networks"]:
        for metric in METRICS:
            if row[metric]["mean"] is not None:
                structure = row["structure"].replace(" ", "_")
                store.client.log_metric(parent, f"{metric}/{structure}/{row['network']}", row[metric]["mean"])
    for path in files:
        store.client.log_artifact(parent, str(path))
    order = ["attributes.start_time DESC"]
    children = store.client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", order_by=order)
    for record in records:
        prefix = member_name(record["network"], record["fold"], record["seed"]) + "-"
        run = next((run for run in children if run.info.run_name.startswith(prefix)), None)
        if run is None or record["status"] != "done" or any(key.startswith("held_out/") for key in run.data.metrics):
            continue
        for key, value in _means(record).items():
            store.client.log_metric(run.info.run_id, f"held_out/{key}", value)


def _means(record: Mapping[str, Any]) -> dict[str, float]:
    """Mean of every metric over the cases of one member, where it is defined."""
    found: dict[str, list[float]] = {}
    for case in record["cases"]:
        for structure, values in case["structures"].items():
            for metric in METRICS:
                if values[metric] is not None:
                    found.setdefault(f"{metric}/{structure.replace(' ', '_')}", []).append(values[metric])
    return {key: float(np.mean(values)) for key, values in found.items()}
