"""Whatever way the same voxels are stored, they are read to the same places of the world."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungseg3d.core import Box, Volume
from lungseg3d.io import read_volume
from lungseg3d.workflows.convert import convert
from tests.corpus import difference
from tests.corpus.nifti_files import nifti_bytes, packed
from tests.corpus.nrrd_meta import meta_bytes, nrrd_bytes
from tests.corpus.phantom import Series, chest, reordered, rotation, turned

SHAPE = (13, 14, 9)
ORDERS = st.sampled_from(list(itertools.permutations(range(3))))
SIGNS = st.tuples(*[st.sampled_from((1, -1))] * 3)
ANGLES = st.tuples(*[st.floats(-40, 40)] * 3)
ORIGIN = st.tuples(*[st.integers(-300, 300)] * 3)
QUICK = settings(max_examples=25, deadline=None)
QUICK_DICOM = settings(max_examples=10, deadline=None)


@st.composite
def volumes(draw) -> Volume:
    """The phantom on a grid turned in any way, its array's axes in any order and direction."""
    volume = chest(SHAPE, origin_mm=draw(ORIGIN))
    for axis, degrees in enumerate(draw(ANGLES)):
        volume = turned(volume, rotation(degrees, axis))
    return reordered(volume, draw(ORDERS), draw(SIGNS))


def read_from(name: str, data: bytes) -> Volume:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        return read_volume(Path(folder) / name)


@QUICK
@given(volume=volumes(), form=st.sampled_from(["sform", "qform", "both", "nrrd", "mha"]))
def test_flips_permutations_and_obliques_of_a_file_give_the_same_voxels_in_the_world(volume, form):
    if form == "nrrd":
        read = read_from("ct.nrrd", nrrd_bytes(volume))
    elif form == "mha":
        read = read_from("ct.mha", meta_bytes(volume, packed=True))
    else:
        codes = {"sform": int(form != "qform"), "qform": int(form != "sform")}
        read = read_from("ct.nii.gz", packed(nifti_bytes(volume.array, volume.affine, **codes)))
    assert difference(read, volume) == ""
    assert np.array_equal(read.array, volume.array)  # on the grid that it came on, too


@QUICK
@given(volume=volumes(), data=st.data())
def test_a_crop_of_a_file_gives_the_same_voxels_in_the_world(volume, data):
    starts = [data.draw(st.integers(0, n // 3)) for n in volume.shape]
    stops = [data.draw(st.integers(n - n // 3, n)) for n in volume.shape]
    part = volume.crop(Box(tuple(starts), tuple(stops)))
    read = read_from("ct.nii", nifti_bytes(part.array, part.affine))
    index = np.indices(read.shape).reshape(3, -1).T
    there = volume.grid.to_voxel(read.grid.to_world(index))
    assert np.abs(there - np.rint(there)).max() < 0.01
    assert np.array_equal(volume.array[tuple(np.rint(there).astype(int).T)], read.array.reshape(-1))


@QUICK_DICOM
@given(volume=volumes(), order=st.permutations(range(40)), numbers=st.permutations(range(40)))
def test_a_shuffled_series_gives_the_same_voxels_in_the_world(volume, order, numbers):
    series = Series(volume)
    slices = [series.slices[k] for k in order if k < len(series.slices)]
    for number, one in zip(numbers, slices, strict=False):
        one.dataset.InstanceNumber = number
    series.slices = slices
    with tempfile.TemporaryDirectory() as folder:
        assert difference(read_volume(series.write(Path(folder, "ct"))), volume) == ""


@QUICK_DICOM
@given(volume=volumes(), ending=st.sampled_from([".nii.gz", ".nii", ".nrrd", ".mha"]))
def test_a_series_converted_and_read_again_is_the_same_to_the_voxel(volume, ending):
    with tempfile.TemporaryDirectory() as folder:
        source = Series(volume).write(Path(folder, "ct"))
        first = convert(source, Path(folder, f"ct{ending}")).volume
        again = read_volume(Path(folder, f"ct{ending}"))
    assert np.array_equal(again.array, first.array)
    assert again.grid.matches(first.grid, 1e-3)
    assert difference(again, volume) == ""


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)
