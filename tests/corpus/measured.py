"""How much processor time and memory reading takes, each input in a process of its own.

    python -m tests.corpus.measured PATH...

In: paths. Out: one JSON object a path on stdout: seconds of processor time (which a busy machine does not change),
mebibytes over idle, status, code of the last issue.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

from lungseg3d.io import inspect


def _peak_mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure(path: str) -> dict[str, object]:
    idle, start = _peak_mebibytes(), time.process_time()
    found = inspect(path)
    seconds = time.process_time() - start
    code = found.issues[-1].code if found.issues else ""
    return {"seconds": seconds, "mebibytes": _peak_mebibytes() - idle, "status": found.status, "code": code}


def main() -> None:
    """Command line."""
    for path in sys.argv[1:]:
        # Forked from an idle process that has imported the reader: what is measured is the input alone.
        child = os.fork()
        if not child:
            print(json.dumps(_measure(path)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"status": f"died ({status})"}), flush=True)


if __name__ == "__main__":
    main()
