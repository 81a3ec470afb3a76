"""Foreign files are decoded in a process of their own, which a damaged or hostile one may crash, hang or fill.

In: what to read and how. Out: the same `Reading`, `Inspection` or label map that reading it here gives, its voxels in
shared memory; or a refusal that says what happened. The process is started once and serves one file after the other.
It guards against accidents of decoders and against bombs; it is no sandbox against code that one was made to run.
"""

from __future__ import annotations

import atexit
import contextlib
import mmap
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from multiprocessing import Pipe, reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lungseg3d.core import IntakeError, LungSegError
from lungseg3d.io.decoding.process_limits import Ending, ending_of, free_memory_bytes, kernel_kills
from lungseg3d.io.intake.reading import APART, IN_PROCESS, ReadOptions, shown

_START_S = 300.0
_PATIENCE_S = 10.0
_FREE_SHARE = 0.8
_MOST_LOG_BYTES = 65536
_ROOT = Path(__file__).resolve().parents[3]
# Without the folder that the program was started in, which Python puts first: a module there is nobody's order.
_SERVE = """
import sys
sys.path[:] = [{root!r}, *filter(None, sys.path)]
from lungseg3d.io.decoding_worker import serve
serve({pipe}, {pid})
"""
_QUIET = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


@dataclass(frozen=True)
class DecodingLimits:
    """What one file may take.

    Attributes:
        time_s: seconds.
        memory_bytes: address space; None takes 80 % of the memory that is free when its turn comes.
    """

    time_s: float = 900.0
    memory_bytes: int | None = None

    @property
    def bytes_now(self) -> int:
        """The limit of memory for a file that is read now."""
        return int(_FREE_SHARE * free_memory_bytes()) if self.memory_bytes is None else self.memory_bytes


@dataclass(frozen=True)
class Job:
    """What the process is asked: `verb` is a function of `lungseg3d.io.reader`, `folder` what paths start from."""

    verb: str
    path: Path
    options: ReadOptions
    folder: str
    time_s: float
    memory_bytes: int


@dataclass(frozen=True)
class Answer:
    """What it answers: a pickled result or error, the places of its arrays in the memory that follows."""

    content: bytes
    places: tuple[tuple[int, int], ...] = ()
    size_bytes: int = 0


class DecodingProcess:
    """The process that reads for this one; several threads may ask, one file is read at a time.

    Args:
        limits: of each file.
    """

    def __init__(self, limits: DecodingLimits = DecodingLimits()) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._log = -1
        self._kills_before = 0
        self._begun: dict[tuple[Any, ...], Future[Any]] = {}

    def start(self) -> None:
        """Start the process where it does not run; returns at once, as it has a second or so to load."""
        with self._lock:
            self._started()

    def begin(self, verb: str, path: Path, options: ReadOptions) -> None:
        """Read now what `read` will be asked for, in the same words, beside whatever this process does until then."""
        begun = self._begun[_asked(verb, path, options)] = Future()
        # A daemon, as nobody may ask for it and the program may end before it does.
        threading.Thread(target=self._fulfil, args=(begun, verb, path, options), daemon=True).start()

    def read(self, verb: str, path: Path, options: ReadOptions) -> Any:
        """What `verb` of `lungseg3d.io.reader` gives for a path; what has been begun is taken, once.

        Raises:
            IntakeError: as `verb`; E_DECODER_CRASHED, E_TIMEOUT.
            LungSegError: E_OUT_OF_MEMORY; E_UNEXPECTED.
            MemoryError: there is no room for the voxels here.
        """
        begun = self._begun.pop(_asked(verb, path, options), None)
        return begun.result() if begun else self._read(verb, path, options)

    def _fulfil(self, begun: Future[Any], verb: str, path: Path, options: ReadOptions) -> None:
        try:
            begun.set_result(self._read(verb, path, options))
        except BaseException as error:
            begun.set_exception(error)

    def _read(self, verb: str, path: Path, options: ReadOptions) -> Any:
        with self._lock:
            limits, memory = self.limits, self.limits.bytes_now
            pipe = self._started()
            os.ftruncate(self._log, 0)
            job = Job(verb, path, replace(options, decode=IN_PROCESS), os.getcwd(), limits.time_s, memory)
            try:
                pipe.send(job)
                # It ends itself in time; the rest is for starting, and for a machine that is very busy.
                if not pipe.poll(limits.time_s + _START_S):
                    raise _failed(path, Ending("E_TIMEOUT", "no answer"), limits, memory)
                result = _received(pipe)
            except (EOFError, OSError) as error:
                raise _failed(path, self._ending(), limits, memory) from error
            except BaseException:  # also Ctrl-C: its answer would be taken for that of the next file
                self._end()
                raise
            if isinstance(result, MemoryError):
                self._end()  # what was too large may still be held in pieces
                raise _failed(path, Ending("E_OUT_OF_MEMORY", "refused"), limits, memory)
            if isinstance(result, BaseException):
                raise result
            return result

    def end(self) -> None:
        """End the process, whatever it reads."""
        child = self._child
        if child is not None:
            child.kill()  # before the lock: whoever waits for its answer holds it
        with self._lock:
            self._end()

    def _started(self) -> Connection:
        if self._child is not None and self._child.poll() is None and self._pipe is not None:
            return self._pipe
        self._end()
        self._pipe, theirs = Pipe()
        self._log = os.memfd_create("decoder-log")
        self._kills_before = kernel_kills()
        code = _SERVE.format(root=str(_ROOT), pipe=theirs.fileno(), pid=os.getpid())
        self._child = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **_QUIET},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        return self._pipe

    def _ending(self) -> Ending:
        """Why it died; nothing of it is left."""
        assert self._child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_PATIENCE_S)
        size = os.lseek(self._log, 0, os.SEEK_END)
        log = os.pread(self._log, _MOST_LOG_BYTES, max(0, size - _MOST_LOG_BYTES)).decode("utf-8", "replace")
        ending = ending_of(self._child.returncode or 0, log, self._kills_before)
        self._end()
        return ending

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
        if self._log >= 0:
            os.close(self._log)
            self._log = -1


def begin_decoding(ct: Path | None = None, options: ReadOptions = ReadOptions()) -> None:  # noqa: B008 - frozen
    """Start this process's decoder, so that it has loaded when the first file comes.

    Args:
        ct: what `open_ct` will be asked for first, with the same options; it is read meanwhile.
        options: of that reading; without `decode` apart it is not begun.
    """
    if not can_decode_apart():
        return
    _own().start()
    if ct is not None and is_apart(options):
        _own().begin("open_ct", ct, options)


def read_apart(verb: str, path: Path, options: ReadOptions) -> Any:
    """As `DecodingProcess.read`, by this process's decoder."""
    return _own().read(verb, path, options)


def is_apart(options: ReadOptions) -> bool:
    """Whether a file is to be read in another process, and this system has what that takes."""
    return options.decode == APART and can_decode_apart()


def can_decode_apart() -> bool:
    """Memory without a name that processes share is Linux's own; elsewhere files are read in process."""
    return hasattr(os, "memfd_create")


_decoders: dict[int, DecodingProcess] = {}


def _own() -> DecodingProcess:
    """By process id: a forked process must not talk into its parent's pipe."""
    return _decoders.setdefault(os.getpid(), DecodingProcess())


@atexit.register
def _end_own() -> None:
    decoder = _decoders.pop(os.getpid(), None)
    if decoder is not None:
        decoder.end()


def _asked(verb: str, path: Path, options: ReadOptions) -> tuple[Any, ...]:
    return verb, path, options, options.memory  # which two options are not compared by


def _received(pipe: Connection) -> Any:
    """The result or the error; arrays lie in the shared memory and are not copied."""
    answer: Answer = pipe.recv()
    if not answer.size_bytes:
        return pickle.loads(answer.content)
    handle = reduction.recv_handle(pipe)
    try:
        shared = memoryview(mmap.mmap(handle, answer.size_bytes))
    except OSError as error:
        raise MemoryError(f"no room for {answer.size_bytes} bytes of voxels") from error
    finally:
        os.close(handle)
    return pickle.loads(answer.content, buffers=[shared[first:last] for first, last in answer.places])


def _failed(path: Path, ending: Ending, limits: DecodingLimits, memory: int) -> LungSegError:
    name = shown(path)
    if ending.code == "E_OUT_OF_MEMORY":
        text = f"{name}: reading it takes more than {memory / 2**30:.1f} GiB of memory ({ending.how})."
        return LungSegError(ending.code, text, "Check where the file comes from; crop the CT, or free memory.")
    if ending.code == "E_TIMEOUT":
        text = f"{name}: reading it had no end after {limits.time_s:g} s ({ending.how})."
        remedy = "Export the series again; from a slow disk, copy it first[, or pass --decode=in-process]."
        return IntakeError(ending.code, text, remedy)
    text = f"{name}: its decoder crashed ({ending.how}); nothing else did."
    return IntakeError("E_DECODER_CRASHED", text, "Export the series again, uncompressed; report the crash.")
