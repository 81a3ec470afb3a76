"""A short run of the fuzzer with fixed numbers, and that it would see what it looks for."""

import random
from pathlib import Path

import pytest

from lungseg3d.core import IntakeError
from tests.fuzz.campaign import Campaign
from tests.fuzz.judge import judge
from tests.fuzz.mutations import mutate
from tests.fuzz.seeds import Seed, make_seeds


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> list[Seed]:
    return make_seeds(tmp_path_factory.mktemp("seeds"))


def test_every_seed_is_read_as_it_is_but_a_single_slice(seeds, tmp_path):
    outcomes = {(seed.kind, judge(seed, tmp_path, random.Random(1)).outcome) for seed in seeds}
    assert outcomes == {(seed.kind, "E_TOO_FEW_SLICES" if seed.kind == "dicom slice" else "read") for seed in seeds}


def test_700_spoilt_inputs_are_read_or_refused_and_nothing_else(seeds, tmp_path):
    campaign = Campaign(seeds, "default", tmp_path)
    for _ in range(700):
        campaign.step()
    assert not campaign.tally.findings
    assert {kind for kind, _ in campaign.tally.outcomes} == {seed.kind for seed in seeds}
    assert len({outcome for _, outcome in campaign.tally.outcomes}) > 12
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_equal_numbers_give_equal_inputs(seeds):
    first, second = ([mutate(seed, random.Random(n)) for n, seed in enumerate(seeds)] for _ in range(2))
    assert first == second


def _raise(error: Exception):
    def broken(*_, **__):
        raise error

    return broken


@pytest.mark.parametrize(
    "error",
    [
        ValueError("an exception of a library"),
        MemoryError(),
        IntakeError("E_BAD_HEADER", "a refusal without a way out"),
        IntakeError("E_UNHEARD_OF", "a code that nobody knows", "Do this."),
    ],
)
def test_what_is_no_proper_refusal_is_a_finding_and_its_input_is_kept(seeds, tmp_path, monkeypatch, error):
    monkeypatch.setattr("tests.fuzz.judge.open_ct", _raise(error))
    (tmp_path / "in").mkdir()
    seed = next(seed for seed in seeds if seed.kind == "nifti")
    campaign = Campaign([seed], "1", tmp_path / "in", tmp_path / "keep")
    while not campaign.tally.findings:
        campaign.step()
    (folder,) = (tmp_path / "keep").iterdir()
    assert (folder / "input" / "v.nii").is_file()
    assert type(error).__name__ in (folder / "finding.txt").read_text()


def test_a_refusal_that_names_the_folders_of_the_disk_is_a_finding(seeds, tmp_path, monkeypatch):
    error = IntakeError("E_BAD_HEADER", f"{Path(tmp_path, 'v.nii')} is bad", "Mend it.")
    monkeypatch.setattr("tests.fuzz.judge.open_ct", _raise(error))
    seed = next(seed for seed in seeds if seed.kind == "nrrd")
    assert judge(seed, tmp_path, random.Random(4)).outcome == "finding"
