"""Minutes -> steps: how long a training step of each network takes here, and how many of them fit into a time.

In: a `ComparisonPlan`, minutes. Out: batches an epoch for each network, kept in `<out>/speed/`, so that a comparison
that goes on trains by the same numbers. The time of a step is measured in a process of its own, by the network's own
training.

    python -m lungseg3d.workflows.compare.budget TASK.json
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lungseg3d.core import TrainingError, UsageError, json_text
from lungseg3d.core.progress import OnProgress
from lungseg3d.io import make_folder, trusting_bundles, write_text
from lungseg3d.workflows.compare.members import tail_of, task_of
from lungseg3d.workflows.compare.plan import ComparisonPlan, Member
from lungseg3d.workflows.train.checks import training_configuration
from lungseg3d.workflows.train.child_processes import Children, reason_of, sigterm_as_interrupt

_UNTIMED = 2
"""First steps, in which kernels are prepared."""
_TIMED = 20
_LONGEST_S = 60.0
"""After this no further step is timed."""


def batches_within(
    plan: ComparisonPlan,
    minutes: float,
    jobs: int,
    on_progress: OnProgress,
    environment: Mapping[str, str],
    keep_open: Sequence[int] = (),
) -> dict[str, int]:
    """Batches an epoch of each network so that its training takes `minutes`, at least one.

    Args:
        plan: of the comparison; the first member of each network is timed.
        minutes: of training, without validation and preparation of the data.
        jobs, on_progress, environment, keep_open: as in `run_members`.

    Raises:
        UsageError: E_NO_STEPS where the bundle's configuration has no `epochs` and `batches_per_epoch`.
        TrainingError: E_NOT_TIMED where a network did not train; the reason is in its log.
    """
    first: dict[str, Member] = {}
    for member in plan.members:
        if not member.epochs:
            raise UsageError(
                "E_NO_STEPS", "the bundle's train.json has no epochs and batches_per_epoch", "Leave --minutes out."
            )
        first.setdefault(member.network, member)
    children = Children(environment, keep_open)
    with ThreadPoolExecutor(max_workers=jobs) as pool, sigterm_as_interrupt():
        try:
            futures = {name: pool.submit(_timed, plan, member, children, on_progress) for name, member in first.items()}
            times = {name: future.result() for name, future in futures.items()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            children.end()
    return {name: max(1, int(minutes * 60 / times[name] / (member.epochs or 1))) for name, member in first.items()}


def step_s(task: Mapping[str, Any]) -> float:
    """Median seconds of one training step, patches cut and augmented included, of a training without its handlers.

    Args:
        task: `bundle`, `configs`, `overrides`, `fold`, `folder`.
    """
    from ignite.engine import Engine, Events

    more = {"output_dir": task["folder"], "epochs": 1, "batches_per_epoch": _UNTIMED + _TIMED}
    more["fold"] = task["fold"]
    with trusting_bundles(task.get("trust_bundle", False)):
        parser = training_configuration(task["configs"], Path(task["bundle"]), task["overrides"], **more)
    parser["train#handlers"] = []
    trainer = parser.get_parsed_content("train#trainer")
    ends: list[float] = []

    def note(engine: Engine) -> None:
        ends.append(time.perf_counter())
        if len(ends) > _UNTIMED + 1 and ends[-1] - ends[0] > _LONGEST_S:
            engine.terminate()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    trainer.run()
    times = [end - start for start, end in zip(ends[_UNTIMED - 1 :], ends[_UNTIMED:], strict=False)]
    return statistics.median(times)


def _timed(plan: ComparisonPlan, member: Member, children: Children, on_progress: OnProgress) -> float:
    """Seconds of a step, measured or as they were measured before under the same settings."""
    folder = plan.out / "speed" / member.network
    found = folder / "speed.json"
    try:
        record = json.loads(found.read_text(encoding="utf-8"))
        if record["settings_sha256"] == member.settings_sha256:
            step_s: float = record["step_s"]
            return step_s
    except (OSError, ValueError, KeyError):
        pass  # not measured yet
    on_progress(member.network, "timing a step", 0.0)
    make_folder(folder)
    task = task_of(plan, member, folder) | {"settings_sha256": member.settings_sha256}
    write_text(folder / "task.json", json_text(task, escape=True, allow_nan=True))
    found.unlink(missing_ok=True)
    log = folder / "speed.log"
    words = [sys.executable, "-m", "lungseg3d.workflows.compare.budget", str(folder / "task.json")]
    code = children.run(words, log, lambda: None)
    if code != 0:
        reason = reason_of(code, tail_of(log))
        raise TrainingError("E_NOT_TIMED", f"{member.network}: {reason}", "Mend it, or leave the network out.")
    on_progress(member.network, "timing a step", 1.0)
    timed_s: float = json.loads(found.read_text(encoding="utf-8"))["step_s"]
    return timed_s


def main(path: str) -> None:
    """Time the training of a task file and write `speed.json` beside it."""
    task = json.loads(Path(path).read_text(encoding="utf-8"))
    record = {"step_s": step_s(task), "settings_sha256": task["settings_sha256"]}
    write_text(Path(task["folder"]) / "speed.json", json_text(record))


if __name__ == "__main__":
    main(sys.argv[1])
