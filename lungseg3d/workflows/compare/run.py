"""`compare`: networks trained and measured under the same conditions, and one table with intervals and tests.

In: a bundle, names of networks, folds, seeds, comparisons to join. Out: `compare.csv`, `cases.csv`, `compare.json`,
`compare.html` in a folder, and the members' own folders below it. Started again, it goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungseg3d.core import LungSegError, OutputError, json_text
from lungseg3d.core.progress import OnProgress
from lungseg3d.io import (
    FolderLock,
    bundle_folder,
    check_writable,
    placing_together,
    trusting_bundles,
    write_text,
)
from lungseg3d.report import render_comparison
from lungseg3d.tracking.facts import without_paths
from lungseg3d.tracking.store import tracking_uri_of
from lungseg3d.workflows.compare.budget import batches_within
from lungseg3d.workflows.compare.join import measured_before
from lungseg3d.workflows.compare.members import run_members
from lungseg3d.workflows.compare.plan import Choices, ComparisonPlan, plan_comparison
from lungseg3d.workflows.compare.tables import cases_csv, compare_csv, comparison_of
from lungseg3d.workflows.compare.tracking import open_parent, track_comparison
from lungseg3d.workflows.train.run import CHILD_ENVIRONMENT

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
    """What a comparison came to.

    Attributes:
        content: what `compare.json` holds.
        page: the HTML file.
    """

    content: dict[str, Any]
    page: Path

    @property
    def statuses(self) -> list[str]:
        """`done` or `failed` of each member."""
        return [member["status"] for member in self.content["members"]]


def compare(
    choices: Choices,
    out: Path | str,
    *,
    jobs: int = 1,
    join: Sequence[Path] = (),
    on_progress: OnProgress | None = None,
) -> Compared:
    """Train and measure every network with every seed without every fold, and compare them.

    Args:
        choices: what to compare.
        out: folder; what it holds of the same settings is not done again.
        jobs: members trained at once.
        join: folders of other comparisons; what they have measured under the same conditions, such as folds of
            another machine, is taken from there and not done again.
        on_progress: told (member, step, fraction 0 to 1).

    Raises:
        UsageError, BundleError, LungSegError: as `plan_comparison` and `measured_before`, before any work; E_IN_USE
            when another comparison writes to `out`.
    """
    with trusting_bundles(choices.trust_bundle):
        plan = plan_comparison(choices, out)
    facts = _facts(plan)
    taken = measured_before(plan.members, facts, join)
    check_writable(plan.out)
    with _hold(plan.out) as lock:
        open_parent(plan)
        environment = os.environ | {
            **CHILD_ENVIRONMENT,
            "MLFLOW_TRACKING_URI": tracking_uri_of(plan.out),
        }
        if jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
        told = on_progress or (lambda *_: None)
        left = plan.without(taken)
        if choices.minutes:
            batches = batches_within(left, choices.minutes, jobs, told, environment, lock)
            with trusting_bundles(choices.trust_bundle):
                left = plan_comparison(choices, out, batches).without(taken)
        records = run_members(left, jobs, told, environment, lock)
        done_now = {member.name: record for member, record in zip(left.members, records, strict=True)}
        everything = [(taken | done_now)[member.name] for member in plan.members]
        content = comparison_of(
            everything,
            choices.networks,
            **facts,
            folds=list(choices.folds),
            seeds=list(choices.seeds),
            jobs=jobs,
            devices=sorted({record["device"] for record in everything if "device" in record}),
        )
        writers: dict[str, Callable[[], str]] = {
            "compare.csv": lambda: compare_csv(content),
            "cases.csv": lambda: cases_csv(everything),
            "compare.json": lambda: json_text(content),
            "compare.html": lambda: render_comparison(content),
        }
        with placing_together(plan.out, last="compare.html") as stage:
            for name, text in writers.items():
                write_text(stage / name, text())
        track_comparison(plan, records, content, [plan.out / name for name in writers])
    return Compared(content, plan.out / "compare.html")


def _facts(plan: ComparisonPlan) -> dict[str, Any]:
    """What all members have in common, as `compare.json` says it."""
    choices = plan.choices
    return {
        "structures": list(plan.structures),
        "bundle": bundle_folder(choices.bundle).name,
        "training": choices.training,
        "overrides": without_paths(dict(choices.overrides)),
        "weights": choices.weights,
        "minutes": choices.minutes,
    }


@contextlib.contextmanager
def _hold(out: Path) -> Iterator[tuple[int, ...]]:
    """Hold `out` against another comparison; the processes started meanwhile hold it too, as long as they live."""
    try:
        lock = FolderLock(out / ".lock")
    except OutputError as error:
        if error.code != "E_LOCKED":
            raise
        text = f"another comparison, or a training of it, writes to {out}"
        raise LungSegError("E_IN_USE", text, "Wait for it, or end it.") from error
    try:
        if not lock.is_held:
            text = f"{out}: the file system gives no locks. See that no other comparison writes there."
            logger.warning(f"W_NO_LOCKS: {text}")
        yield (lock.fileno(),) if lock.is_held else ()
    finally:
        lock.release()
