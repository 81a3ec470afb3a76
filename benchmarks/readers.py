"""The corpus of tricky inputs through our reader and the ones that people use, side by side.

    pip install '.[bench]' && apt install dcm2niix        # a reader that is absent is left out, with a word
    python -m benchmarks.readers [--only D02 N12 ...] [--peers lungseg3d SimpleITK ...]

In: tests/corpus. Out: a table on stdout, benchmarks/results/readers.md and readers.csv; a run of some rows or readers
takes the rest from the earlier readers.csv. Every reader runs in a process of its own with a time limit an input, so
that a crash is a result.
"""

from __future__ import annotations

import argparse
import csv
import json
import pickle
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from importlib import metadata, util
from pathlib import Path

from benchmarks.reader_peers import PEERS, Peer, format_of
from tests.corpus import CASES, CorpusCase

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
READY_S, EACH_S = 600, 120
VERDICTS = ("right", "refused", "flagged", "refused valid", "silently wrong", "crash")
_SHORT = {"right": "ok", "refused": "refused", "flagged": "flagged", "refused valid": "REFUSED VALID"}
_SHORT |= {"silently wrong": "**WRONG**", "crash": "CRASH", "": "-"}

Verdicts = dict[str, dict[str, str]]
"""Of one reader: id -> verdict, why."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="rows, such as D02")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    asked = parser.parse_args()
    # Options are ours alone: the readers are compared on what they do unasked.
    cases = [case for case in CASES if not case.options and (not asked.only or case.id in asked.only)]
    peers = [PEERS[name] for name in asked.peers if _is_there(PEERS[name])]
    with tempfile.TemporaryDirectory() as scratch:
        formats = _make(cases, Path(scratch))
        cases = [case for case in cases if case.id in formats]
        found = {
            peer.name: run_peer(peer, [case for case in cases if formats[case.id] in peer.formats], Path(scratch))
            for peer in peers
        }
    text = table(cases, found) + "\n" + summary(cases, found)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    if asked.only or asked.peers != list(PEERS):
        found = with_earlier(found)
        cases = [case for case in CASES if any(case.id in verdicts for verdicts in found.values())]
    write_results(cases, found)


def _is_there(peer: Peer) -> bool:
    there = shutil.which(peer.package) if peer.package == "dcm2niix" else util.find_spec(peer.package)
    if not there:
        print(f"left out: {peer.name}, as {peer.package} is not installed", file=sys.stderr)
    return bool(there)


def version_of(peer: Peer) -> str:
    """As the package or the program says."""
    if peer.package == "dcm2niix":
        said = subprocess.run(["dcm2niix", "-v"], capture_output=True, text=True).stdout.split()
        return next((word for word in said if word.startswith("v1.")), "?").lstrip("v")
    return metadata.version("monai" if peer.name.startswith("MONAI") else peer.package)


def _make(cases: list[CorpusCase], scratch: Path) -> dict[str, str]:
    """Write every input; id -> format. Inputs that need options of ours fall out."""
    formats = {}
    for case in cases:
        folder = scratch / case.id / "input"
        folder.mkdir(parents=True)
        made = case.make(folder)
        if not made.options:
            (scratch / case.id / "made.pickle").write_bytes(pickle.dumps(made))
            formats[case.id] = format_of(made.path)
    return formats


def run_peer(peer: Peer, cases: list[CorpusCase], scratch: Path) -> Verdicts:
    """All inputs through one reader; after a crash or a timeout, a new process goes on with the next input."""
    found: Verdicts = {}
    while left := [case for case in cases if case.id not in found]:
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.reader_child", peer.name, str(scratch)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_collect, args=(child, answers), daemon=True).start()
        if not answers.get(timeout=READY_S):
            raise SystemExit(f"{peer.name} cannot be started: python -m benchmarks.reader_child '{peer.name}' .")
        for case in left:
            answer = _ask(child, answers, f"{case.id} {case.verdict}\n")
            found[case.id] = answer
            print(f"{peer.name}: {case.id} {answer['verdict']}", file=sys.stderr)
            if answer["verdict"] == "crash":
                break
        child.kill()
        child.wait()
    return found


def _collect(child: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        answers.put(line)
    answers.put("")


def _ask(child: subprocess.Popen[str], answers: queue.Queue[str], line: str) -> dict[str, str]:
    assert child.stdin is not None
    try:
        child.stdin.write(line)
        child.stdin.flush()
        said = answers.get(timeout=EACH_S)
    except queue.Empty:
        return {"verdict": "crash", "why": f"no answer in {EACH_S} s"}
    except BrokenPipeError:
        said = ""
    if said:
        answer = json.loads(said)
        return {"verdict": answer["verdict"], "why": answer["why"]}
    return {"verdict": "crash", "why": f"the process died ({child.wait()})"}


def table(cases: list[CorpusCase], found: dict[str, Verdicts]) -> str:
    """One line an input, one column a reader."""
    lines = ["| | input | expected | " + " | ".join(found) + " |", "|---" * (3 + len(found)) + "|"]
    for case in cases:
        expected = {"ok": "ok", "warn": "ok, flag", "refused": "refuse"}[case.verdict]
        cells = [_SHORT[verdicts.get(case.id, {}).get("verdict", "")] for verdicts in found.values()]
        lines.append(f"| {case.id} | {case.title} | {expected} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def summary(cases: list[CorpusCase], found: dict[str, Verdicts]) -> str:
    """How often each verdict fell, by reader."""
    lines = ["| reader | version | inputs | " + " | ".join(VERDICTS) + " |", "|---" * (3 + len(VERDICTS)) + "|"]
    for name, verdicts in found.items():
        counts = Counter(answer["verdict"] for answer in verdicts.values())
        cells = [str(counts[verdict]) for verdict in VERDICTS]
        lines.append(f"| {name} | {version_of(PEERS[name])} | {len(verdicts)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def with_earlier(found: dict[str, Verdicts]) -> dict[str, Verdicts]:
    """What readers.csv holds of an earlier run, and what was found now in its place."""
    merged: dict[str, Verdicts] = {name: {} for name in PEERS}
    if (RESULTS / "readers.csv").exists():
        with open(RESULTS / "readers.csv", newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                merged[line["reader"]][line["id"]] = {"verdict": line["verdict"], "why": line["why"]}
    for name, verdicts in found.items():
        merged[name].update(verdicts)
    return {name: verdicts for name, verdicts in merged.items() if verdicts}


_PAGE = """# What readers make of tricky CTs

{count} inputs, made by `tests/corpus`: a phantom whose HU tell the true place of every voxel, spoilt in one way each.
Made by `python -m benchmarks.readers`; every reader runs with its defaults in a process of its own, up to {seconds} s
and {memory} GiB an input.

{summary}
- **right**: every voxel has its value, at its place in the world to 0.1 mm (padding and NaN count as air; a tilted
  series may come resampled; either of two good series is right).
- **refused**: an error for an input that should be refused, or something that its caller sees to be no 3D volume.
  **refused valid**: an error for an input that can be read.
- **flagged**: a wrong volume, or one of an input that should be refused, with some warning on stderr, in a log or as a
  Python warning, whatever it says. **silently wrong**: the same without a word.
- **crash**: the process died, or gave no answer in time. `-`: not a format of this reader.

`refuse` is the opinion of a reader for measurement. Values that are not HU, or a slice too few, are handed out by
readers for general use, which is no fault of theirs where nobody measures nodules.

{table}"""


def _plain(why: str) -> str:
    """A reader's words without what differs from run to run: folders and addresses."""
    return re.sub(r"0x[0-9a-f]+", "0x", re.sub(r"(?:/[\w.+-]+)+/", "", why))[:160]


def write_results(cases: list[CorpusCase], found: dict[str, Verdicts]) -> None:
    """readers.md and readers.csv."""
    from benchmarks.reader_child import MEMORY_GIB

    page = _PAGE.format(
        count=len(cases), seconds=EACH_S, memory=MEMORY_GIB, summary=summary(cases, found), table=table(cases, found)
    )
    (RESULTS / "readers.md").write_text(page, encoding="utf-8")
    with open(RESULTS / "readers.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "input", "expected", "reader", "verdict", "why"])
        for case in cases:
            for name, verdicts in found.items():
                if answer := verdicts.get(case.id):
                    rows.writerow([case.id, case.title, case.verdict, name, answer["verdict"], _plain(answer["why"])])


if __name__ == "__main__":
    main()
