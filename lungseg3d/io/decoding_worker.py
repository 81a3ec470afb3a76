"""The process at the other end of `lungseg3d.io.decoding.client`: reads files until nobody is there to ask.

In: `Job`s from a pipe. Out: `Answer`s, and the memory that holds their arrays. A file that takes too much memory is a
MemoryError, one that takes too long ends this process, whatever it does then.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import threading
import time
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from lungseg3d.core import LungSegError
from lungseg3d.core.errors import unexpected_fault
from lungseg3d.core.remedies import keep_templates
from lungseg3d.io import reader
from lungseg3d.io.decoding.client import Answer, Job
from lungseg3d.io.decoding.process_limits import limit_memory, limit_time, own_memory_bytes
from lungseg3d.io.intake.reading import shown

_ALIGNMENT = 64
_NO_LIMIT = 2**62
_WATCH_S = 1.0
_MOST_PER_WRITE = 2**30


def serve(pipe: int, parent: int) -> None:
    """Answer until the other end is closed.

    Args:
        pipe: descriptor of our end.
        parent: process id; when it is gone, so are we.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: who started us decides what it means
    keep_templates()  # it outlives the verb that started it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold the patient
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with Connection(pipe) as connection:
        while True:
            try:
                job: Job = connection.recv()
            except EOFError:
                return
            _send(connection, _result(job))


def _result(job: Job) -> Any:
    """What the job gives, or the error that it ended in."""
    try:
        os.chdir(job.folder)
        limit_memory(own_memory_bytes() + job.memory_bytes, for_good=False)
        limit_time(job.time_s)
        return getattr(reader, job.verb)(job.path, job.options)
    except (LungSegError, MemoryError) as error:
        return error.with_traceback(None)
    except Exception as error:
        return LungSegError(*unexpected_fault(error, shown(job.path)))
    finally:
        limit_time(0)
        limit_memory(_NO_LIMIT, for_good=False)


def _send(connection: Connection, result: Any) -> None:
    arrays: list[pickle.PickleBuffer] = []
    content = pickle.dumps(result, protocol=5, buffer_callback=arrays.append)
    places, size = [], 0
    for array in arrays:
        first = -(-size // _ALIGNMENT) * _ALIGNMENT
        size = first + array.raw().nbytes
        places.append((first, size))
    connection.send(Answer(content, tuple(places), size))
    if not size:
        return
    memory = os.memfd_create("voxels")
    try:
        os.ftruncate(memory, size)
        for array, (first, _) in zip(arrays, places, strict=True):
            _fill(memory, first, array.raw())
        reduction.send_handle(connection, memory, None)
    finally:
        os.close(memory)


def _fill(memory: int, place: int, content: memoryview) -> None:
    done = 0
    while done < content.nbytes:
        done += os.pwrite(memory, content[done : done + _MOST_PER_WRITE], place + done)


def _end_with(parent: int) -> None:
    """Whose results nobody would take does not work on."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)
