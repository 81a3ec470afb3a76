"""What a process may take of the machine, and why one ended: memory, time, a crash.

In: numbers of bytes and seconds, an exit code. Out: limits that hold from now on in this process; words for people.
Knows no file format and no task.
"""

from __future__ import annotations

import re
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|allocate memory|MemoryError|bad_alloc", re.IGNORECASE
)
_UNKNOWN_BYTES = 2**62
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Ending:
    """Why a process ended: `E_OUT_OF_MEMORY`, `E_TIMEOUT` or `E_WORKER_LOST`, and how, in words."""

    code: str
    how: str


def is_out_of_memory(text: str) -> bool:
    """Whether an error or a log says that memory ran out: PyTorch, C++ and Python have words of their own for it."""
    return bool(_OUT_OF_MEMORY.search(text))


def limit_memory(limit_bytes: int, for_good: bool = True) -> None:
    """Have every request for address space beyond the limit fail in this process, and in those that it starts.

    Args:
        limit_bytes: the limit; one that is in force for good stays in force.
        for_good: False for a limit that this process may change again.
    """
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit_bytes = limit_bytes if most == resource.RLIM_INFINITY else min(limit_bytes, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes if for_good else most))


def limit_time(seconds: float) -> None:
    """Have the system end this process after so many seconds, whatever it does then; 0 takes the limit away."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # no handler: a decoder that hangs lets no Python run
    signal.setitimer(signal.ITIMER_REAL, seconds)


def own_memory_bytes() -> int:
    """Address space of this process; 0 where the system does not say."""
    return 1024 * _entry(Path("/proc/self/status"), "VmSize:", 0)


def free_memory_bytes() -> int:
    """What this machine, or the container that we are in, can still give; without an answer, enough for anything."""
    free = 1024 * _entry(Path("/proc/meminfo"), "MemAvailable:", _UNKNOWN_BYTES // 1024)
    try:
        most = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        taken = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no control group, or "max"
        return free
    cached = _entry(_CGROUP / "memory.stat", "inactive_file", 0)
    return max(0, min(free, most - taken + cached))


def kernel_kills() -> int:
    """How many processes Linux has killed for want of memory since it started; 0 where it does not say."""
    return _entry(Path("/proc/vmstat"), "oom_kill", 0)


def ending_of(exit_code: int, log: str, kills_before: int) -> Ending:
    """Why a process ended that should not have.

    Args:
        exit_code: as `subprocess` gives it, negative for a signal.
        log: what it printed last.
        kills_before: `kernel_kills` when it was started.
    """
    killed = -exit_code in set(signal.Signals)
    how = f"killed by {signal.Signals(-exit_code).name}" if killed else f"exit code {exit_code}"
    if is_out_of_memory(log) or (exit_code == -signal.SIGKILL and kernel_kills() > kills_before):
        return Ending("E_OUT_OF_MEMORY", how)
    return Ending("E_TIMEOUT" if exit_code == -signal.SIGALRM else "E_WORKER_LOST", how)


def _entry(path: Path, name: str, otherwise: int) -> int:
    """The number after a name in a table of the system, such as `/proc/meminfo`."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return otherwise
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), otherwise)
