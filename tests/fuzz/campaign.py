"""The loop of the fuzzer: choose a seed, spoil it, judge it, keep it when it ended somewhere new.

In: seeds, a number. Out: `Tally`. Not guided by coverage: a tracer costs ten times what the reader does, so the queue
grows by the shape of the answer (code and message without its numbers), which costs nothing and tells refusals apart
by the line that gave them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.judge import Verdict, judge
from tests.fuzz.mutations import mutate
from tests.fuzz.seeds import Seed

_WEIGHTS = {"dicom folder": 4, "dicom slice": 2, "enhanced": 3, "zip": 2, "nifti": 3, "nifti.gz": 2, "nrrd": 3,
            "metaimage": 3, "manifest": 2}  # fmt: skip
_MOST_PER_KIND = 200
_MOST_KEPT = 3


@dataclass
class Tally:
    """Counts of one process or of all: (kind, outcome) -> inputs; shape -> findings."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0

    @property
    def inputs(self) -> int:
        """Number of inputs judged."""
        return sum(self.outcomes.values())

    def add(self, other: Tally) -> None:
        """Count what another process counted."""
        self.outcomes += other.outcomes
        self.findings += other.findings
        self.cpu_s += other.cpu_s


class Campaign:
    """A queue of seeds and the next input; equal numbers give equal inputs.

    Args:
        seeds: where it starts.
        number: of the random generator.
        folder: empty folder in which the inputs are laid out, one after the other.
        keep: folder that findings are written to, or None.
    """

    def __init__(self, seeds: Sequence[Seed], number: str, folder: Path, keep: Path | None = None) -> None:
        self.rng = random.Random(number)
        self.number, self.folder, self.keep = number, folder, keep
        self.queue: dict[str, list[Seed]] = {}
        for seed in seeds:
            self.queue.setdefault(seed.kind, []).append(seed)
        self.first = {kind: len(queue) for kind, queue in self.queue.items()}
        self.known: set[tuple[str, str]] = set()
        self.tally = Tally()
        self.current: Seed | None = None
        self.on_input: Callable[[Seed], None] = lambda seed: None

    def step(self) -> Verdict:
        """Judge one input."""
        kinds = list(self.queue)
        kind = self.rng.choices(kinds, [_WEIGHTS.get(kind, 1) for kind in kinds])[0]
        queue = self.queue[kind]
        # Half of the inputs are one step from a valid one: what is spoilt already is mostly refused early.
        start = queue[: self.first[kind]] if self.rng.random() < 0.5 else queue
        self.current = seed = mutate(self.rng.choice(start), self.rng)
        self.on_input(seed)
        verdict = judge(seed, self.folder, self.rng)
        self.tally.outcomes[kind, verdict.outcome] += 1
        if verdict.outcome == "finding":
            self.note_finding(seed, verdict)
        elif (kind, verdict.shape) not in self.known:
            self.known.add((kind, verdict.shape))
            self._grow(kind, seed)
        return verdict

    def note_finding(self, seed: Seed, verdict: Verdict) -> None:
        """Count a finding and write its input down, the first few of each shape."""
        shape = f"{seed.kind}: {verdict.shape}"
        self.tally.findings[shape] += 1
        if self.keep is not None and self.tally.findings[shape] <= _MOST_KEPT:
            write_finding(self.keep, f"{self.number}-{self.tally.inputs}", seed, verdict)

    def _grow(self, kind: str, seed: Seed) -> None:
        queue = self.queue[kind]
        if len(queue) < _MOST_PER_KIND:
            queue.append(seed)
        else:
            queue[self.rng.randrange(self.first[kind], len(queue))] = seed


def write_finding(keep: Path, name: str, seed: Seed, verdict: Verdict) -> None:
    """The files of an input and what went wrong, below `keep`."""
    folder = keep / f"{seed.kind.replace(' ', '-')}-{name}"
    for relative, data in seed.files.items():
        path = folder / "input" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    text = f"{seed.kind}, from {seed.name}; opened: {seed.entry or 'the folder'}\n{verdict.trouble or verdict.shape}\n"
    (folder / "finding.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
