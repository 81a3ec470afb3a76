"""`batch`: thousands of CTs overnight. Every good one done, every bad one explained, nothing lost, nothing doubled.

In: a source of CTs, options. Out: `<out>/<case_id>/` for each, the journal, a summary. The same call again goes on
where the last one stopped, however it stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lungseg3d.core import UsageError
from lungseg3d.io import (
    FolderLock,
    bundle_folder,
    check_bundle,
    check_writable,
    make_folder,
    recover,
    trusting_bundles,
)
from lungseg3d.workflows.batch.decision import cases_to_do, settle
from lungseg3d.workflows.batch.local import LocalPool
from lungseg3d.workflows.batch.plan import BatchPlan, Selection, plan_batch
from lungseg3d.workflows.batch.pool import Limits, Pool
from lungseg3d.workflows.batch.summary import write_summary
from lungseg3d.workflows.batch.work import BatchRun, Stop
from lungseg3d.workflows.batch_state.case import CaseSegmenter, Segmenter
from lungseg3d.workflows.batch_state.identity import Identity, identity_of
from lungseg3d.workflows.batch_state.journal import BatchJournal
from lungseg3d.workflows.batch_state.records import BatchDone, BatchOptions, BatchState, OnBatchState
from lungseg3d.workflows.segment.options import SegmentOptions, check_places

if TYPE_CHECKING:
    from lungseg3d.workflows.batch.tracking import BatchTracking

logger = logging.getLogger(__name__)

LOCK, WORK = ".lock", ".work"
_GIB = 2**30


def batch(
    selection: Selection,
    out: Path | str,
    options: BatchOptions,
    on_progress: OnBatchState | None = None,
    segmenter: Segmenter | None = None,
) -> BatchDone:
    """Do every case of a source that the journal does not know as done.

    Args:
        selection: the source.
        out: folder of results, journal and summary.
        options: see `BatchOptions`.
        on_progress: called while cases are being found, and when one begins, moves or ends.
        segmenter: what the workers open; None takes `segment`'s own.

    Raises:
        UsageError: E_NO_SOURCE, E_BAD_OPTION.
        BundleError: the models cannot be opened; E_UNTRUSTED_CONFIG before any process is started for them.
        OutputError: E_LOCKED, E_STALE_OUTPUT, E_WRITE, E_NO_SPACE.
        LungSegError: E_DAMAGED_JOURNAL.
        LungSegError: E_MANIFEST, E_BAD_CSV, E_DUPLICATE_CASE; E_WORKER_LOST when no worker can be started.
    """
    out = Path(out)
    _check(options)
    options = replace(options, segment=_with_checked_bundles(options.segment))
    if segmenter is None:
        _check_machine(options)
    opened: Segmenter = segmenter or CaseSegmenter(options.segment, options.threads)
    identity = identity_of(options.segment, options.threads)
    plan = plan_batch(selection, out, on_progress and _searching(on_progress))
    check_writable(make_folder(out) / WORK)
    lock = FolderLock(out / LOCK)
    if not lock.is_held:
        logger.warning(f"W_NO_LOCKS: {out}: the file system gives no locks. See that no other batch works there.")
    try:
        journal = BatchJournal(out, locks=lock.is_held)
        try:
            return _run(plan, out, journal, identity, options, opened, on_progress)
        finally:
            journal.close()
    finally:
        lock.release()


def _run(
    plan: BatchPlan,
    out: Path,
    journal: BatchJournal,
    identity: Identity,
    options: BatchOptions,
    segmenter: Segmenter,
    on_progress: OnBatchState | None,
) -> BatchDone:
    recover(out / WORK, out)
    settle(journal, out)
    plan = plan.name_cases({record.key: case_id for case_id, record in journal.records().items()})
    to_do = cases_to_do(plan.cases, journal, identity, out, options.segment.overwrite)
    journal.add_identity(identity)
    skipped = len(plan.cases) - len(to_do)
    run = BatchRun(out, out / WORK, journal, identity, len(plan.cases), skipped, on_progress)
    tracking = _tracking(out, identity) if options.track else None
    with Stop() as stopping:
        if to_do:
            run.work_through(to_do, _pool(segmenter, options), options.workers, stopping)
        records = journal.records()
        page, files = write_summary(out, records, identity)
        recover(out / WORK, out)
        if tracking is not None:
            tracking.close(records, files, stopping.signal)
    return BatchDone(records, page, skipped, plan.ignored, stopping.signal)


def _searching(on_progress: OnBatchState) -> Callable[[int], object]:
    began = time.monotonic()
    return lambda files: on_progress(BatchState(0, 0, {}, {}, time.monotonic() - began, searched=files))


def _tracking(out: Path, identity: Identity) -> BatchTracking:
    from lungseg3d.workflows.batch.tracking import BatchTracking  # loads torch and MLflow

    return BatchTracking(out, identity)


def _pool(segmenter: Segmenter, options: BatchOptions) -> Pool:
    memory = None if options.memory_limit_gib is None else int(options.memory_limit_gib * _GIB)
    limits = Limits(options.time_limit_s, memory)
    if options.engine == "local":
        return LocalPool(segmenter, limits)
    from lungseg3d.workflows.batch.ray import RayPool

    return RayPool(segmenter, limits, options)


def _with_checked_bundles(asked: SegmentOptions) -> SegmentOptions:
    """Bundles by absolute paths, which mean the same to every worker; one that could run code is refused now.

    Every worker checks what it opens once more.
    """
    roots = {"lung_bundle": asked.lung_bundle, "nodule_bundle": asked.nodule_bundle}
    absolute = {name: bundle_folder(root) for name, root in roots.items() if root is not None}
    with trusting_bundles(asked.trust_bundle):
        for root in absolute.values():
            check_bundle(root, ["configs/inference.json"])
    return replace(asked, **absolute)  # type: ignore[arg-type]


def _check(options: BatchOptions) -> None:
    check_places(options.segment, is_one_ct=False)
    if options.memory_limit_gib is not None and options.segment.device.startswith("cuda"):
        text = "--memory-limit bounds the address space, of which CUDA takes hundreds of GiB that it does not use."
        raise UsageError("E_BAD_OPTION", text, "Leave it out on a GPU.")
    if options.engine not in ("local", "ray"):
        raise UsageError("E_BAD_OPTION", f"engine {options.engine!r} is neither local nor ray.")
    if options.address is not None and options.engine != "ray":
        raise UsageError("E_BAD_OPTION", "--address is of a Ray cluster.", "Add --engine ray.")


def _check_machine(options: BatchOptions) -> None:
    """Refuse what was asked for by name and this machine does not compute, before a folder is made.

    Workers of a cluster have other machines, and check for themselves.
    """
    asked = options.segment
    by_default = (asked.device, asked.backend, asked.precision) == ("auto", "auto", "auto")
    if options.engine != "local" or by_default:
        return
    from lungseg3d.workflows.segment.models import check_machine  # loads torch

    check_machine(asked)
