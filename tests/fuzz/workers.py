"""Processes that fuzz: each with an end of its memory and of its patience, replaced when it dies.

In: seeds, seconds, number of processes. Out: one `Tally`. A worker lays out each input on the disk before it opens it,
so what killed it can be collected afterwards. Needs fork (Linux).
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.fuzz.campaign import Campaign, Tally, write_finding
from tests.fuzz.judge import Verdict
from tests.fuzz.seeds import Seed

LIMIT_S = 5.0
"""Most seconds of CPU for one input: a busy machine is no finding. What waits for ever ends by `_SILENCE_S`."""
LIMIT_BYTES = 2**30
"""Most memory (address space) above what a worker has at its start."""
_REPORT_S = 0.5
_SILENCE_S = 60.0


class TooSlowError(BaseException):
    """The alarm; no `except Exception` may hide it."""


@dataclass
class _Worker:
    process: Any
    connection: Connection
    folder: Path
    last_word: float


def fuzz(
    seeds: Sequence[Seed], seconds: float, jobs: int, number: int, scratch: Path, keep: Path, log: Any = print
) -> Tally:
    """Fuzz for `seconds` in `jobs` processes."""
    end = time.monotonic() + seconds
    total = Tally()
    started = 0
    workers: list[_Worker] = []
    while workers or time.monotonic() < end:
        while len(workers) < jobs and time.monotonic() < end:
            workers.append(_start(seeds, f"{number}-{started}", end, scratch / f"worker-{started}", keep))
            started += 1
        ready = wait([worker.connection for worker in workers], timeout=1.0)
        for worker in list(workers):
            alive = True
            if worker.connection in ready:
                alive = _listen(worker, total)
            elif time.monotonic() - worker.last_word > _SILENCE_S:
                worker.process.kill()
                worker.process.join()
                alive = False
            if not alive:
                workers.remove(worker)
                worker.process.join()
                if worker.process.exitcode != 0:
                    _collect(worker, total, keep)
                    log(f"a worker ended with {worker.process.exitcode}; a new one takes its place")
                shutil.rmtree(worker.folder, ignore_errors=True)
    return total


def _start(seeds: Sequence[Seed], number: str, end: float, folder: Path, keep: Path) -> _Worker:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    (folder / "input").mkdir(parents=True)
    process = context.Process(target=_work, args=(seeds, number, end, folder, keep, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, folder, time.monotonic())


def _listen(worker: _Worker, total: Tally) -> bool:
    """Take in what a worker says; False when it says no more."""
    try:
        total.add(worker.connection.recv())
    except (EOFError, OSError):
        return False
    worker.last_word = time.monotonic()
    return True


def _collect(worker: _Worker, total: Tally, keep: Path) -> None:
    """The input that a worker died of."""
    code = worker.process.exitcode
    why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    kind, _, entry = (
        (worker.folder / "kind").read_text().partition("\n") if (worker.folder / "kind").exists() else "?\n"
    )
    inside = worker.folder / "input"
    files = {str(path.relative_to(inside)): path.read_bytes() for path in inside.rglob("*") if path.is_file()}
    trace = worker.folder / "trace"
    text = trace.read_text(errors="replace") if trace.exists() else ""
    shape = f"{kind}: the process died of {why}"
    total.findings[shape] += 1
    total.outcomes[kind, "finding"] += 1
    write_finding(keep, worker.folder.name, Seed(kind, "a dead worker", files, entry), Verdict("finding", shape, text))


def _work(seeds: Sequence[Seed], number: str, end: float, folder: Path, keep: Path, connection: Connection) -> None:
    """The life of a worker process."""
    _limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, _raise_too_slow)
    campaign = Campaign(seeds, number, folder / "input", keep)
    with (folder / "trace").open("w") as trace, (folder / "kind").open("w") as note:
        campaign.on_input = lambda seed: _begin(note, seed)
        faulthandler.enable(trace)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders in C print what they think of an input
        told, cpu_s = time.monotonic(), time.process_time()
        while time.monotonic() < end:
            _step(campaign)
            if time.monotonic() - told > _REPORT_S:
                campaign.tally.cpu_s = time.process_time() - cpu_s
                connection.send(campaign.tally)
                campaign.tally = Tally()
                told, cpu_s = time.monotonic(), time.process_time()
        campaign.tally.cpu_s = time.process_time() - cpu_s
        connection.send(campaign.tally)
    os._exit(0)


def _step(campaign: Campaign) -> None:
    try:
        campaign.step()
    except TooSlowError as error:
        seed = campaign.current
        assert seed is not None
        text = "".join(traceback.format_exception(error))
        campaign.tally.outcomes[seed.kind, "finding"] += 1
        campaign.note_finding(seed, Verdict("finding", f"more than {LIMIT_S:g} s", text))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _begin(note: Any, seed: Seed) -> None:
    """Write down what is opened next, and wind the alarm."""
    note.seek(0)
    note.truncate()
    note.write(f"{seed.kind}\n{seed.entry}")
    note.flush()
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)


def _raise_too_slow(*_: object) -> None:
    raise TooSlowError


def _limit_memory() -> None:
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + LIMIT_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
