"""Writing NIfTI: the same voxels, grid and bytes come back, and no half file is left behind."""

import errno
import hashlib

import nibabel
import numpy as np
import pytest

from lungseg3d.core import OutputError, Volume
from lungseg3d.io import read_labels, read_volume, write_labels, write_text, write_volume, writing


def make_ct(shape=(12, 10, 8)) -> Volume:
    hu = np.random.default_rng(1).integers(-1000, 800, shape).astype(np.int16)
    affine = np.diag([-0.7, -0.7, 1.25, 1.0])
    affine[:3, 3] = (120.5, 80.25, -300.0)
    return Volume(hu, affine)


def test_a_ct_comes_back_voxel_for_voxel(tmp_path):
    ct = make_ct()
    write_volume(tmp_path / "ct.nii.gz", ct)
    back = read_volume(tmp_path / "ct.nii.gz")
    assert back.array.dtype == np.int16
    assert np.array_equal(back.array, ct.array)
    assert back.grid.matches(ct.grid, 1e-4)


def test_sform_and_qform_are_both_set_and_in_mm(tmp_path):
    write_labels(tmp_path / "l.nii.gz", Volume(np.ones((4, 5, 6), np.uint8), make_ct().affine))
    header = nibabel.load(tmp_path / "l.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert np.allclose(header.get_sform(), header.get_qform(), atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_data_dtype() == np.uint8


def test_two_writes_give_the_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, make_ct())
    digests = {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.nii.gz", "b.nii.gz")}
    assert len(digests) == 1


def test_labels_above_255_are_written_as_uint16(tmp_path):
    labels = np.zeros((4, 4, 4), np.int32)
    labels[1, 1, 1] = 300
    write_labels(tmp_path / "l.nii.gz", Volume(labels, np.eye(4)))
    back = read_labels(tmp_path / "l.nii.gz")
    assert back.array.dtype == np.uint16
    assert np.array_equal(back.array, labels)


def test_a_mask_is_written_as_uint8(tmp_path):
    write_labels(tmp_path / "l.nii.gz", Volume(np.ones((3, 3, 3), bool), np.eye(4)))
    assert read_labels(tmp_path / "l.nii.gz").array.dtype == np.uint8


def test_a_sheared_grid_survives(tmp_path):
    ct = make_ct()
    affine = ct.affine.copy()
    affine[1, 2] = 0.4
    write_volume(tmp_path / "ct.nii.gz", Volume(ct.array, affine))
    assert np.allclose(read_volume(tmp_path / "ct.nii.gz").affine, affine, atol=1e-4)


def test_floats_are_not_labels(tmp_path):
    with pytest.raises(OutputError, match="E_OUTPUT_TYPE"):
        write_labels(tmp_path / "l.nii.gz", Volume(np.ones((3, 3, 3), np.float32), np.eye(4)))
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def write_and_stop():
        with writing(tmp_path / "a.txt") as file:
            file.write(b"new")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write_and_stop()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "E_NO_SPACE"), (errno.EIO, "E_WRITE")])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_disk_is_an_output_error_with_the_path(tmp_path, monkeypatch, number, code, step):
    def fail(*_):
        raise OSError(number, "disk trouble")

    monkeypatch.setattr(f"os.{step}", fail)
    with pytest.raises(OutputError, match=code) as caught:
        write_text(tmp_path / "a.txt", "x")
    assert "a.txt" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="E_WRITE"):
        write_text(tmp_path / "nowhere" / "a.txt", "x")


def test_a_link_at_the_target_is_replaced_and_never_written_through(tmp_path):
    (tmp_path / "other").write_text("keep")
    (tmp_path / "a.txt").symlink_to(tmp_path / "other")
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "other").read_text() == "keep"
    assert not (tmp_path / "a.txt").is_symlink()
