"""Cases that overlap: what is next is read while networks run, records come in order, a bad one stops no other."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from lungseg3d.core import CaseResult, IntakeError, Volume
from lungseg3d.io import Reading
from lungseg3d.workflows.segment import case as segment_case
from lungseg3d.workflows.segment import job as segment_input
from lungseg3d.workflows.segment import pipeline as segment_line
from lungseg3d.workflows.segment.options import SegmentOptions

NAMES = ["a", "b", "c", "d"]
MODELS = object()  # nobody asks it anything: the networks are stood in for


class Hall:
    """Stands in for reading, networks and writing, and notes what begins and ends, and how many CTs are held."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.is_read = {name: threading.Event() for name in NAMES}
        self.held: set[str] = set()
        self.most_held = 0
        self.bad = ""

    def read(self, job):
        self.log.append(("read", job.case_id))
        if job.case_id == self.bad:
            raise IntakeError("E_NOT_AN_IMAGE", f"{job.case_id}: no image.")
        self.held.add(job.case_id)
        self.most_held = max(self.most_held, len(self.held))
        self.is_read[job.case_id].set()
        reading = Reading(Volume(np.zeros((1, 1, 1), np.int16), np.eye(4)), (), {"name": job.case_id}, ())
        return segment_input.OpenedCase(reading, None)

    def run(self, ct, models, watch, options):
        number = sum(what == "networks" for what, _ in self.log)
        waiting = NAMES[number + 1 : number + 2] if not self.bad else []
        self.log.append(("networks", str(number)))
        for name in waiting:  # the next CT comes while the networks run
            assert self.is_read[name].wait(10)
        return "found"

    def finish(self, opened, found, job, models, watch):
        self.log.append(("written", job.case_id))
        self.held.discard(job.case_id)
        assert opened.reading.source["name"] == job.case_id
        return CaseResult(job.case_id, "done")


@pytest.fixture
def hall(monkeypatch) -> Hall:
    hall = Hall()
    monkeypatch.setattr(segment_case, "open_case", hall.read)
    monkeypatch.setattr(segment_case, "run_networks", hall.run)
    monkeypatch.setattr(segment_case, "write_results", hall.finish)
    return hall


def jobs(folder: Path):
    return [segment_input.CaseJob(folder / name, name, folder / "out" / name, SegmentOptions()) for name in NAMES]


def test_the_next_ct_is_read_while_networks_run_and_records_keep_their_order(hall, tmp_path):
    calls: list[tuple[str, str, float]] = []
    results = segment_line.segment_line(jobs(tmp_path), MODELS, lambda *call: calls.append(call))
    assert [(r.case_id, r.status) for r in results] == [(name, "done") for name in NAMES]
    assert [name for what, name in hall.log if what == "written"] == NAMES
    assert [call[0] for call in calls if call[1] == "done"] == NAMES


def test_no_more_than_three_cts_are_held_at_once(hall, tmp_path):
    segment_line.segment_line(jobs(tmp_path), MODELS)
    assert hall.most_held <= 3


def test_without_reading_ahead_one_ct_is_held(hall, tmp_path, monkeypatch):
    monkeypatch.setattr(segment_case, "run_networks", lambda *_: "found")
    results = segment_line.segment_line(jobs(tmp_path), MODELS, ahead=False)
    assert [r.case_id for r in results] == NAMES
    assert hall.most_held == 1


@pytest.mark.parametrize("bad", NAMES)
def test_a_bad_case_stops_no_other(hall, tmp_path, bad):
    hall.bad = bad
    results = segment_line.segment_line(jobs(tmp_path), MODELS)
    assert [(r.case_id, r.status) for r in results] == [(n, "refused" if n == bad else "done") for n in NAMES]
    assert (tmp_path / "out" / bad / "result.json").is_file()


def test_jobs_are_asked_for_one_ahead_only(hall, tmp_path, monkeypatch):
    asked: list[str] = []

    def lazily():
        for job in jobs(tmp_path):
            asked.append(job.case_id)
            yield job

    at_networks: list[int] = []
    monkeypatch.setattr(segment_case, "run_networks", lambda *_: at_networks.append(len(asked)) or "found")
    segment_line.segment_line(lazily(), MODELS)
    assert at_networks == [2, 3, 4, 4]
