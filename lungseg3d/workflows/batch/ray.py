"""Workers on a Ray cluster: actors that open the models once, wherever Ray finds room for them.

In: tasks; the folders of source and output must have the same paths on every machine. Out: the events of a `Pool`. One
task an actor at a time, so nothing queues up in the cluster; a task whose actor or node is lost goes to another.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from lungseg3d.core import LungSegError, QualityIssue, UsageError
from lungseg3d.io import limit_memory
from lungseg3d.workflows.batch.pool import START_LIMIT_S, Event, Finished, Limits, Lost, worker_issue
from lungseg3d.workflows.batch_state.case import Outcome, Segmenter, SegmentFunction, Task, do_task
from lungseg3d.workflows.batch_state.records import BatchOptions

_ANSWER_S = 10.0
MOST_TRIES = 3
"""How often a task is begun whose actor is lost each time: nobody can tell a lost node from a case that kills."""


class RayPool:
    """A `Pool` of Ray actors.

    Args:
        segmenter: what each actor opens; its module must be installed on every node.
        limits: of each case.
        options: `address` of the cluster, and what one actor takes: `threads` CPUs, `gpus_per_worker` GPUs.

    Raises:
        UsageError: E_NO_RAY when Ray is not installed.
        LungSegError: E_NO_CLUSTER when no cluster answers at the address.
    """

    def __init__(self, segmenter: Segmenter, limits: Limits, options: BatchOptions) -> None:
        self._ray = _connected(options.address)
        self._resources = {"CPU": options.threads, "GPU": options.gpus_per_worker}
        self._remote = self._ray.remote(_RemoteWorker).options(
            num_cpus=options.threads,
            num_gpus=options.gpus_per_worker,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._segmenter, self._limits = segmenter, limits
        self._actors: list[_Actor] = []
        self._again: list[Task] = []
        self._tries: dict[str, int] = {}
        self._ready_at = time.monotonic()

    def room(self) -> int:
        """As many as the cluster has CPUs and GPUs for."""
        there = self._ray.cluster_resources()
        rooms = [int(there.get(kind, 0) // each) for kind, each in self._resources.items() if each]
        return max(1, min(rooms))

    def want(self, count: int) -> None:
        """See `Pool`."""
        while len(self._actors) < count:
            handle = self._remote.remote()
            opening = handle.open.remote(self._segmenter, self._limits)
            self._actors.append(_Actor(handle, opening, time.monotonic()))

    def is_ready(self) -> bool:
        """See `Pool`."""
        return not self._again and any(actor.is_idle for actor in self._actors)

    def submit(self, task: Task) -> None:
        """See `Pool`."""
        actor = next(actor for actor in self._actors if actor.is_idle)
        actor.task, actor.began = task, time.monotonic()
        actor.answer = actor.handle.do.remote(task)

    def wait(self, longest_s: float) -> list[Event]:
        """See `Pool`."""
        answers = [actor.answer for actor in self._actors if actor.answer is not None]
        if answers:
            self._ray.wait(answers, num_returns=1, timeout=longest_s)
            answered, _ = self._ray.wait(answers, num_returns=len(answers), timeout=0)
        else:
            time.sleep(longest_s)
            answered = []
        events: list[Event] = []
        for actor in list(self._actors):
            if actor.answer is not None and actor.answer in answered:
                events += self._answered(actor)
            elif actor.task is not None and time.monotonic() - actor.began > self._limits.time_s:
                text = f"{actor.task.case_id}: no end after {self._limits.time_s:g} s, the time limit."
                remedy = "Give more time with --time-limit, or crop the CT."
                events.append(Lost(actor.task, QualityIssue("E_TIMEOUT", text, remedy)))
                self._remove(actor)
        while self._again and any(actor.is_idle for actor in self._actors):
            self.submit(self._again.pop())
        self._check_started()
        return events

    def end(self) -> None:
        """See `Pool`."""
        for actor in list(self._actors):
            self._remove(actor)
        self._ray.shutdown()

    def _answered(self, actor: _Actor) -> list[Event]:
        task, answer = actor.task, actor.answer
        actor.task = actor.answer = None
        try:
            kind, *content = self._ray.get(answer)
        except self._ray.exceptions.RayError:
            self._remove(actor)
            return [] if task is None else self._begin_again(task)
        if kind == "broken":
            raise LungSegError(*content)
        self._ready_at = time.monotonic()
        if kind == "ready":
            actor.is_open = True
            return []
        assert task is not None
        found: Outcome | QualityIssue = content[0]
        issues = found.issues if isinstance(found, Outcome) else (found,)
        if any(issue.code == "E_OUT_OF_MEMORY" for issue in issues):
            self._remove(actor)
        return [Finished(task, found) if isinstance(found, Outcome) else Lost(task, found)]

    def _begin_again(self, task: Task) -> list[Event]:
        tries = self._tries[task.case_id] = self._tries.get(task.case_id, 1) + 1
        if tries > MOST_TRIES:
            text = f"{task.case_id}: its worker was lost {MOST_TRIES} times."
            return [Lost(task, QualityIssue("E_WORKER_LOST", text, "Run the same command again; see Ray's logs."))]
        # A folder of its own: a node that only seemed lost may still write into the first one.
        self._again.append(replace(task, folder=task.folder.with_name(f"{task.folder.name}.{tries}")))
        return []

    def _check_started(self) -> None:
        """An actor that finds no room waits for it; where none ever found any, waiting is in vain."""
        if any(actor.is_open for actor in self._actors) or not self._actors:
            self._ready_at = time.monotonic()
        elif time.monotonic() - self._ready_at > START_LIMIT_S:
            text = f"no worker has started within {START_LIMIT_S:g} s."
            raise LungSegError("E_WORKER_LOST", text, "See `ray status`: are there free CPUs, or GPUs, as asked for?")

    def _remove(self, actor: _Actor) -> None:
        self._actors.remove(actor)
        self._ray.kill(actor.handle)


@dataclass
class _Actor:
    """A worker as the batch sees it: what it was asked, since when, and what it is doing."""

    handle: Any
    answer: Any
    began: float
    task: Task | None = None
    is_open: bool = False

    @property
    def is_idle(self) -> bool:
        return self.is_open and self.answer is None


class _RemoteWorker:
    """The actor: errors become answers, so only the death of its process raises."""

    def __init__(self) -> None:
        self._segment: SegmentFunction | None = None

    def open(self, segmenter: Segmenter, limits: Limits) -> tuple[Any, ...]:
        """Open the models."""
        if limits.memory_bytes is not None:
            limit_memory(limits.memory_bytes)
        try:
            self._segment = segmenter.open()
        except Exception as error:
            issue = worker_issue(error, "the models")
            return ("broken", issue.code, issue.message, issue.remedy)
        return ("ready",)

    def do(self, task: Task) -> tuple[Any, ...]:
        """Do one case."""
        assert self._segment is not None
        try:
            return ("outcome", do_task(self._segment, task, lambda step, fraction: None))
        except Exception as error:
            return ("lost", worker_issue(error, task.case_id))


def _ask(address: str | None) -> None:
    """See whether anything answers at HOST:PORT: Ray itself asks for a quarter of an hour.

    Raises:
        LungSegError: E_NO_CLUSTER.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(f"{address}: {error}") from error


def _no_cluster(text: str) -> LungSegError:
    return LungSegError(
        "E_NO_CLUSTER", f"no Ray cluster answers at {text}", "Start one with `ray start --head`; give its --address."
    )


def _connected(address: str | None) -> Any:
    """The module `ray`, connected to a cluster; without an address, to a new one on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UsageError("E_NO_RAY", "Ray is not installed.", "pip install 'lungseg3d[ray]'") from error
    _ask(address)
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        own: dict[str, Any] = {"include_dashboard": False} if address is None else {}
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **own)
    except (ConnectionError, ValueError, TimeoutError, RuntimeError) as error:
        raise _no_cluster(f"{address or 'this machine'}: {error}") from error
    if threading.current_thread() is threading.main_thread():
        for number, handler in ours.items():  # Ray puts one of its own in their place
            signal.signal(number, handler)
    return ray
