"""The members of a comparison, trained and measured: each in processes of its own, each once.

In: a `Plan`. Out: `member.json` of each member, done or failed with its reason. A member whose record has the same
settings, and whose weights are still the ones measured, is not done again; a training that was stopped goes on by the
bundle's own `resume`; one that fails leaves the others alone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from lungseg3d.core.errors import one_line
from lungseg3d.engines.tracking_facts import HIDDEN_PATH
from lungseg3d.engines.tracking_store import checksum
from lungseg3d.io.files import write_text
from lungseg3d.workflows.compare_plan import Member, Plan

OnProgress = Callable[[str, str, float], None]
"""(what, step, fraction 0 to 1 of what)."""

_POLL_S = 0.2
_PATIENCE_S = 15.0
"""How long a child may take to end when it is told to."""
_EPOCH = re.compile(r"Epoch: (\d+)/(\d+), Iter: (\d+)/(\d+)")
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|MemoryError|std::bad_alloc", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w.<])(?:[A-Za-z]:)?[/\\][^\s'\":;,()]+")
_REASON = re.compile(r"\b(E_[A-Z_]+|[A-Za-z_.]*(?:Error|Exception)): .+")


def run_members(
    plan: Plan, jobs: int, on_progress: OnProgress, environment: Mapping[str, str], keep_open: Sequence[int] = ()
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
    children = _Children(environment, keep_open)
    pool = ThreadPoolExecutor(max_workers=jobs)
    futures = []
    try:
        with _sigterm_as_interrupt():
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
    weights = weights_of(member)
    if record.get("weights_sha256") and (not weights.is_file() or checksum(weights) != record["weights_sha256"]):
        return {}
    return record


def weights_of(member: Member) -> Path:
    """The file that is measured."""
    return member.folder / f"{member.settings['weights']}.pt"


def measure_command(task: Path) -> list[str]:
    """The command line that measures the member of a task file, as words."""
    return [sys.executable, "-m", "lungseg3d.workflows.compare_measures", str(task)]


def reason_of(exit_code: int, log: str) -> str:
    """Why a process failed, for people: its exit code, and the last error in its log, in one line and without paths."""
    log = _PATH.sub(HIDDEN_PATH, log)  # folders are named after patients and users, and this goes to a page
    errors = [match.group(0) for match in _REASON.finditer(log)]
    last = errors[-1] if errors else next((line for line in reversed(log.splitlines()) if line.strip()), "no output")
    if exit_code < 0:
        name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else f"signal {-exit_code}"
        often = ", often for want of memory" if name == "SIGKILL" else ""
        return f"killed by {name}{often}"
    if memory := _OUT_OF_MEMORY.search(log):
        return one_line(
            f"out of memory (exit code {exit_code}): {last if memory.group(0) in last else memory.group(0)}"
        )
    return one_line(f"exit code {exit_code}: {last}")


class _Failed(Exception):
    """A process of a member did not do what it was started for."""


class _Children:
    """The processes that run now; none starts after `end`."""

    def __init__(self, environment: Mapping[str, str], keep_open: Sequence[int]) -> None:
        self.environment, self.keep_open = dict(environment), tuple(keep_open)
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._ended = False

    def run(self, words: Sequence[str], log: Path, watch: Callable[[], None]) -> int:
        """Run a command, its output appended to `log`; `watch` is called every now and then. Returns its exit code."""
        with log.open("ab") as output:
            output.write(f"$ {shlex.join(['python', *words[1:]])}\n".encode())
            output.flush()
            with self._lock:
                if self._ended:
                    raise KeyboardInterrupt
                # A session of its own: Ctrl-C reaches this process alone, which then ends them in order.
                child = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    start_new_session=True,
                    pass_fds=self.keep_open,
                )
                self._running.add(child)
        try:
            while True:
                try:
                    code = child.wait(timeout=_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    watch()
        finally:
            _end(child)
            with self._lock:
                self._running.discard(child)
        if self._ended:
            raise KeyboardInterrupt
        return code

    def end(self) -> None:
        """End every process, gently at first."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for child in running:
            child.terminate()
        for child in running:
            _end(child)


def _end(child: subprocess.Popen) -> None:
    """End a process, gently at first; does nothing to one that has ended."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class _sigterm_as_interrupt:
    """While it lasts, SIGTERM is a KeyboardInterrupt: a comparison that is ended leaves no training behind."""

    def __enter__(self) -> None:
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._interrupt)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _interrupt(*_: object) -> None:
        raise KeyboardInterrupt


def _run_member(plan: Plan, member: Member, children: _Children, on_progress: OnProgress) -> dict[str, Any]:
    """One member from wherever it stands to its record."""
    record = read_record(member)
    if record.get("status") == "done":
        on_progress(member.name, "done before", 1.0)
        return record
    member.folder.mkdir(parents=True, exist_ok=True)
    base: dict[str, Any] = {
        "network": member.network,
        "fold": member.fold,
        "seed": member.seed,
        "folder": member.folder.name,
        "settings": dict(member.settings),
        "settings_sha256": member.settings_sha256,
    }
    try:
        if not record.get("weights_sha256"):
            base |= {"training_s": _train(member, children, on_progress)}
            base |= {"weights_sha256": checksum(weights_of(member))}
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


def _train(member: Member, children: _Children, on_progress: OnProgress) -> float:
    """Run the training; seconds it took in this attempt."""
    on_progress(member.name, "training", 0.0)
    log = member.folder / "train.log"
    seen = log.stat().st_size if log.is_file() else 0
    start = time.monotonic()

    def watch() -> None:
        on_progress(member.name, "training", 0.9 * _fraction(_tail(log, seen)))

    code = children.run(member.command, log, watch)
    if code != 0:
        raise _Failed(f"training: {reason_of(code, _tail(log, seen))}")
    if not weights_of(member).is_file():
        hint = " (no validation took place: lower val_interval)" if weights_of(member).stem == "best" else ""
        raise _Failed(f"training: it left no {weights_of(member).name}{hint}")
    return time.monotonic() - start


def _measure(plan: Plan, member: Member, base: Mapping[str, Any], children: _Children, on_progress: OnProgress) -> None:
    """Run the measurement, which writes the record."""
    on_progress(member.name, "measuring", 0.9)
    task = {
        "bundle": str(Path(plan.choices.bundle).absolute()),
        "configs": [str(path) for path in member.configs],
        "overrides": dict(member.overrides),
        "fold": member.fold,
        "structures": list(member.structures),
        "weights": str(weights_of(member)),
        "folder": str(member.folder),
        "record": dict(base),
    }
    write_text(member.folder / "task.json", json.dumps(task, indent=1) + "\n")
    log = member.folder / "measure.log"
    seen = log.stat().st_size if log.is_file() else 0
    code = children.run(
        measure_command(member.folder / "task.json"), log, lambda: on_progress(member.name, "measuring", 0.9)
    )
    if code != 0:
        raise _Failed(f"measuring: {reason_of(code, _tail(log, seen))}")
    if read_record(member).get("status") != "done":
        raise _Failed("measuring: it left no record")


def _write(member: Member, record: Mapping[str, Any]) -> None:
    write_text(member.folder / "member.json", json.dumps(record, indent=1, allow_nan=False) + "\n")


def _tail(log: Path, start: int = 0, most: int = 20_000) -> str:
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
