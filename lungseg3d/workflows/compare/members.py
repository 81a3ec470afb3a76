"""The members of a comparison, trained and measured: each in processes of its own, each once.

In: a `ComparisonPlan`. Out: `member.json` of each member, done or failed with its reason. A member whose record has the
same settings, and whose weights are still the ones measured, is not done again; a training that was stopped goes on by
the bundle's own `resume`; one that fails leaves the others alone.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from lungseg3d.core import json_text
from lungseg3d.core.progress import OnProgress
from lungseg3d.io import bundle_folder, make_folder, sha256_of, write_text
from lungseg3d.workflows.compare.plan import ComparisonPlan, Member
from lungseg3d.workflows.train.child_processes import Children, reason_of, sigterm_as_interrupt

_EPOCH = re.compile(r"Epoch: (\d+)/(\d+), Iter: (\d+)/(\d+)")


def run_members(
    plan: ComparisonPlan,
    jobs: int,
    on_progress: OnProgress,
    environment: Mapping[str, str],
    keep_open: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """Do what is left to do, `jobs` members at once.

    Args:
        plan: the members.
        jobs: how many at a time.
        on_progress: called from this thread's workers.
        environment: of the processes.
        keep_open: file descriptors that the processes inherit, such as a lock that they hold as long as they live.

    Returns:
        The record of each member, in the plan's order.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; every process has been ended before, and what was trained is kept.
    """
    children = Children(environment, keep_open)
    pool = ThreadPoolExecutor(max_workers=jobs)
    futures = []
    try:
        with sigterm_as_interrupt():
            futures = [pool.submit(_run_member, plan, member, children, on_progress) for member in plan.members]
            left = set(futures)
            while left:  # in slices, so that Ctrl-C is noticed at once
                left = wait(left, timeout=0.5, return_when=FIRST_COMPLETED).not_done
            return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        children.end()
        pool.shutdown(wait=True)


def read_record(member: Member) -> dict[str, Any]:
    """The record of a member under its present settings; empty where there is none, or none that can be trusted."""
    try:
        record = json.loads((member.folder / "member.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict) or record.get("settings_sha256") != member.settings_sha256:
        return {}
    weights = weights_file(member)
    if record.get("weights_sha256") and (not weights.is_file() or sha256_of(weights) != record["weights_sha256"]):
        return {}
    return record


def weights_file(member: Member) -> Path:
    """The file that is measured."""
    return member.folder / f"{member.settings['weights']}.pt"


def measure_command(task: Path) -> list[str]:
    """The command line that measures the member of a task file, as words."""
    return [sys.executable, "-m", "lungseg3d.workflows.compare.measures", str(task)]


def task_of(plan: ComparisonPlan, member: Member, folder: Path) -> dict[str, Any]:
    """What a process must know to make the training configuration of a member, with `folder` for what it writes."""
    return {
        "bundle": str(bundle_folder(plan.choices.bundle)),
        "configs": [str(path) for path in member.configs],
        "overrides": dict(member.overrides),
        "fold": member.fold,
        "folder": str(folder),
        "trust_bundle": plan.choices.trust_bundle,
    }


class _Failed(Exception):
    """A process of a member did not do what it was started for."""


def _run_member(plan: ComparisonPlan, member: Member, children: Children, on_progress: OnProgress) -> dict[str, Any]:
    """One member from wherever it stands to its record."""
    record = read_record(member)
    if record.get("status") == "done":
        on_progress(member.name, "done before", 1.0)
        return record
    make_folder(member.folder)
    base: dict[str, Any] = {
        "network": member.network,
        "fold": member.fold,
        "seed": member.seed,
        "steps": member.steps,
        "folder": member.folder.name,
        "settings": dict(member.settings),
        "settings_sha256": member.settings_sha256,
    }
    try:
        if not record.get("weights_sha256"):
            base |= {"training_s": _train(member, children, on_progress)}
            base |= {"weights_sha256": sha256_of(weights_file(member))}
            _write(member, base | {"status": "trained"})
        else:
            base |= {key: record[key] for key in ("training_s", "weights_sha256")}
        _measure(plan, member, base, children, on_progress)
    except _Failed as failure:
        base |= {"status": "failed", "reason": str(failure)}
        _write(member, base)
        on_progress(member.name, f"failed: {failure}", 1.0)
        return base
    on_progress(member.name, "done", 1.0)
    return read_record(member)


def _train(member: Member, children: Children, on_progress: OnProgress) -> float:
    """Run the training; seconds it took in this attempt."""
    on_progress(member.name, "training", 0.0)
    log = member.folder / "train.log"
    seen = log.stat().st_size if log.is_file() else 0
    start = time.monotonic()

    def watch() -> None:
        on_progress(member.name, "training", 0.9 * _fraction(tail_of(log, seen)))

    code = children.run(member.command, log, watch, member.task)
    if code != 0:
        raise _Failed(f"training: {reason_of(code, tail_of(log, seen))}")
    if not weights_file(member).is_file():
        why = " (no validation took place: lower val_interval; or no held-out case has a label: take --weights model)"
        hint = why if weights_file(member).stem == "best" else ""
        raise _Failed(f"training: it left no {weights_file(member).name}{hint}")
    return time.monotonic() - start


def _measure(
    plan: ComparisonPlan, member: Member, base: Mapping[str, Any], children: Children, on_progress: OnProgress
) -> None:
    """Run the measurement, which writes the record."""
    on_progress(member.name, "measuring", 0.9)
    task = task_of(plan, member, member.folder)
    task |= {"structures": list(member.structures), "weights": str(weights_file(member)), "record": dict(base)}
    write_text(member.folder / "task.json", json_text(task, escape=True, allow_nan=True))
    log = member.folder / "measure.log"
    seen = log.stat().st_size if log.is_file() else 0
    code = children.run(
        measure_command(member.folder / "task.json"), log, lambda: on_progress(member.name, "measuring", 0.9)
    )
    if code != 0:
        raise _Failed(f"measuring: {reason_of(code, tail_of(log, seen))}")
    if read_record(member).get("status") != "done":
        raise _Failed("measuring: it left no record")


def _write(member: Member, record: Mapping[str, Any]) -> None:
    write_text(member.folder / "member.json", json_text(record, escape=True))


def tail_of(log: Path, start: int = 0, most: int = 20_000) -> str:
    """The end of a log, at most `most` bytes, and nothing of what was there before byte `start`."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - most))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _fraction(log: str) -> float:
    """How much of a training is done, by the last line of MONAI's StatsHandler."""
    lines = _EPOCH.findall(log)
    if not lines:
        return 0.0
    epoch, epochs, iteration, iterations = (int(number) for number in lines[-1])
    return min(1.0, (epoch - 1 + iteration / max(iterations, 1)) / max(epochs, 1))
