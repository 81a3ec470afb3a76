"""A tar archive is unpacked whole into its place, or refused with nothing left behind."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from lungseg3d.core import IntakeError, OutputError
from lungseg3d.io import unpack_tar
from tests.support.faults import ERRORS, Fault, failing

MOST = 10 * 2**20


def make(path: Path, mode: str = "w:gz", **members: bytes) -> Path:
    with tarfile.open(path, mode) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_the_wanted_folder_comes_out_of_every_packing_and_nothing_else(tmp_path, mode):
    made = make(tmp_path / "a.tar", mode, set__x__a=b"1" * 3_000_000, set__b=b"", other__c=b"3", set__x___=b"4")
    make_seen: list[int] = []
    out = unpack_tar(made, "set", tmp_path, MOST, lambda done, _: make_seen.append(done))
    assert {path.relative_to(out).as_posix(): path.stat().st_size for path in out.rglob("*") if path.is_file()} == {
        "x/a": 3_000_000,
        "x/_": 1,
        "b": 0,
    }
    assert make_seen[-1] == 3_000_001
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "set"]


def special(path: Path, **fields: object) -> Path:
    info = tarfile.TarInfo(str(fields.pop("name", "set/a")))
    for key, value in fields.items():
        setattr(info, key, value)
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("set/good"))
        file.addfile(info)
    return path


@pytest.mark.parametrize(
    "fields",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "set/good"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.FIFOTYPE},
        {"name": "set/../../out"},
        {"name": "/set/a"},
        {"name": "set\\..\\a"},
        {"name": "set/good"},
    ],
)
def test_links_devices_names_that_lead_out_and_doubles_are_refused(tmp_path, fields):
    with pytest.raises(IntakeError, match="E_UNSAFE_ARCHIVE"):
        unpack_tar(special(tmp_path / "a.tar", **fields), "set", tmp_path, MOST)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_bombs_are_refused_before_they_go_off(tmp_path):
    claims = special(tmp_path / "claims.tar", size=2**50)
    many = make(tmp_path / "many.tar", set__a=b"0" * (MOST // 2 + 1), set__b=b"0" * (MOST // 2 + 1))
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**33  # a header of 8 GiB, which tarfile would take into memory
    (tmp_path / "header.tar").write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + b"0" * 10_000_000))
    for path in (claims, many, tmp_path / "header.tar"):
        with pytest.raises(IntakeError, match="E_RESOURCE_LIMIT"):
            unpack_tar(path, "set", tmp_path, MOST)
    assert not (tmp_path / "set").exists()


def test_an_archive_that_is_cut_or_damaged_anywhere_leaves_nothing(tmp_path):
    whole = make(tmp_path / "a.tar.gz", set__a=bytes(range(256)) * 400, set__b=b"x" * 5000).read_bytes()
    for length in (0, 10, len(whole) // 3, len(whole) // 2, len(whole) - 12):
        (tmp_path / "a.tar.gz").write_bytes(whole[:length])
        with pytest.raises(IntakeError, match="E_CORRUPT"):
            unpack_tar(tmp_path / "a.tar.gz", "set", tmp_path, MOST)
        assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_plain_archive_that_lost_its_last_files_is_cut(tmp_path):
    whole = make(tmp_path / "a.tar", "w", set__a=b"1", set__b=b"2").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:1024])  # the first file, and no end
    with pytest.raises(IntakeError, match="E_CORRUPT"):
        unpack_tar(tmp_path / "a.tar", "set", tmp_path, MOST)


@pytest.mark.parametrize("kind", ["open", "write", "fsync", "rename"])
def test_a_disk_that_fails_leaves_nothing(tmp_path, kind):
    made = make(tmp_path / "a.tar.gz", set__a=b"1", set__x__b=b"2")
    for nth in range(50):
        with failing(Fault(kind, nth, ERRORS[nth % 3])) as fault:
            try:
                unpack_tar(made, "set", tmp_path, MOST)
            except OutputError as error:
                said = error.code
        if not fault.happened:
            break
        assert said in ("E_NO_SPACE", "E_WRITE")
        if (tmp_path / "set").exists():  # renamed already; only the folder above was not synced
            assert sum(path.is_file() for path in (tmp_path / "set").rglob("*")) == 2
            import shutil

            shutil.rmtree(tmp_path / "set")
        assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
    assert nth >= 2
