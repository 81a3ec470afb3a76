"""Links among the files of an input: followed inside of it or when asked, else named as the reason; circles end."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner

from lungseg3d.cli import app
from lungseg3d.core import Volume
from lungseg3d.io import (
    LinkRule,
    ReadOptions,
    find_cases,
    find_series,
    list_studies,
    open_ct,
    sha256_of,
    signature_of,
    write_volume,
)
from tests.corpus.phantom import Series as CorpusSeries

FOLLOW = ReadOptions(follow_links=True)


def paths(root: Path, **options) -> list[str]:
    return [source.path.relative_to(root).as_posix() for source in find_cases(root, **options).sources]


def moved_behind_links(folder: Path, store: Path, names=None) -> Path:
    """Every file of a folder put into `store`, and a link left in its place, as HPC scratch disks have it."""
    store.mkdir(parents=True)
    for path in sorted(folder.iterdir()):
        if names is None or path.name in names:
            path.rename(store / path.name)
            path.symlink_to(os.path.relpath(store / path.name, folder))
    return folder


def annexed(dataset: Path, folder: Path) -> Path:
    """Every file of a folder as git-annex has it: its content under .git/annex/objects of the dataset."""
    for path in sorted(folder.iterdir()):
        key = f"SHA256E-s{path.stat().st_size}--{folder.name}{path.stem}{path.suffix}"
        content = dataset / ".git" / "annex" / "objects" / "Xx" / "9f" / key / key
        content.parent.mkdir(parents=True)
        path.rename(content)
        path.symlink_to(os.path.relpath(content, folder))
    return folder


def test_a_folder_of_links_that_lead_out_is_refused_for_them_and_read_when_they_are_followed(
    make_series, tmp_path, refusal
):
    series = make_series()
    folder = moved_behind_links(series.write(tmp_path / "s"), tmp_path / "scratch")
    error = refusal(folder)
    assert error.code == "E_LINK_NOT_FOLLOWED"
    assert error.message == ("s: 40 links lead outside of what was given and were not followed (000.dcm).")
    assert "follow_links=True" in error.remedy
    assert np.array_equal(open_ct(folder, FOLLOW).volume.array, series.lps_array)


def test_links_that_stay_inside_are_followed(make_series, tmp_path):
    series = make_series()
    folder = moved_behind_links(series.write(tmp_path / "s" / "links"), tmp_path / "s" / ".store")
    reading = open_ct(folder.parent)
    assert np.array_equal(reading.volume.array, series.lps_array)


def test_slices_that_are_missing_because_they_are_links_are_explained(make_series, tmp_path, refusal):
    folder = moved_behind_links(make_series().write(tmp_path / "s"), tmp_path / "scratch", ["020.dcm", "021.dcm"])
    error = refusal(folder)
    assert error.code == "E_MISSING_SLICES"
    assert "2 links lead outside" in error.remedy
    assert "follow_links=True" in error.remedy


def test_a_linked_patient_folder_is_followed_when_asked(make_series, tmp_path, refusal):
    series = make_series()
    series.write(tmp_path / "scratch" / "p1")
    tree = tmp_path / "tree"
    (tree / "study").mkdir(parents=True)
    (tree / "study" / "p1").symlink_to(tmp_path / "scratch" / "p1")
    assert refusal(tree).code == "E_LINK_NOT_FOLLOWED"
    assert open_ct(tree, FOLLOW).volume.shape[2] == 40
    assert paths(tree) == ["study/p1"]
    assert paths(tree, follow_links=True) == ["study/p1"]
    (source,) = find_cases(tree).sources
    error = refusal(source.path, ReadOptions(links_within=source.rule.inside))
    assert error.code == "E_LINK_NOT_FOLLOWED"


def test_annexed_slices_are_read_where_the_dataset_was_given_and_named_where_only_a_folder_of_it_was(tmp_path, refusal):
    dataset = tmp_path / "dataset"
    CorpusSeries(study="1", uid="1").write(dataset / "p1")
    CorpusSeries(study="2", uid="2").write(dataset / "p2")
    whole = open_ct(dataset / "p1").volume
    for name in ("p1", "p2"):
        annexed(dataset, dataset / name)
    assert paths(dataset) == ["p1", "p2"]
    for source in find_cases(dataset).sources:
        assert open_ct(source.path, ReadOptions(links_within=source.rule.inside)).issues == ()
    assert refusal(dataset / "p1").code == "E_LINK_NOT_FOLLOWED"
    assert np.array_equal(open_ct(dataset / "p1", FOLLOW).volume.array, whole.array)
    assert len(list_studies(dataset)) == 2
    assert {series.folder.name for series in find_series(dataset)} == {"p1", "p2"}


def test_annexed_slices_whose_content_is_absent_say_how_to_get_it(make_series, tmp_path, refusal):
    dataset = tmp_path / "dataset"
    folder = annexed(dataset, make_series().write(dataset / "p1"))
    shutil.rmtree(dataset / ".git" / "annex")
    for path, options in ((folder, ReadOptions()), (dataset, ReadOptions()), (folder, FOLLOW)):
        error = refusal(path, options)
        assert error.code == "E_LINK_BROKEN"
        assert "40 files of git-annex whose content is not here" in error.message
        assert "git annex get" in error.remedy
    assert paths(dataset) == ["p1"]


def test_one_slice_that_is_a_link_to_nothing_is_a_lost_slice(make_series, tmp_path, refusal):
    folder = make_series().write(tmp_path / "s")
    (folder / "039.dcm").unlink()
    (folder / "039.dcm").symlink_to("nowhere.dcm")
    error = refusal(folder)
    assert error.code == "E_LINK_BROKEN"
    assert "1 link that leads nowhere (039.dcm)" in error.message


def test_a_link_to_nothing_that_is_no_slice_beside_slices_is_no_matter(make_series, tmp_path):
    folder = make_series().write(tmp_path / "s")
    (folder / "notes.txt").symlink_to("nowhere.txt")
    (folder / "README.md").symlink_to("/etc/hostname")
    assert open_ct(folder).issues == ()


@pytest.mark.parametrize(
    "placeholder", [b"/annex/objects/SHA256E-s9--0f.dcm\n", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_a_placeholder_whose_content_was_not_fetched_is_named(tmp_path, refusal, placeholder):
    for name in ("ct.nii.gz", "slices/1.dcm", "slices/IM0002"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(placeholder)
    for path in (tmp_path / "ct.nii.gz", tmp_path / "slices"):
        error = refusal(path)
        assert error.code == "E_LINK_BROKEN"
        assert "git annex get" in error.remedy
    assert paths(tmp_path) == ["ct.nii.gz", "slices"]


def test_circles_of_links_end(make_series, tmp_path):
    series = make_series()
    folder = series.write(tmp_path / "s" / "a")
    (tmp_path / "s" / "b").mkdir()
    for link, target in (
        ("a/up", ".."), ("a/self", "../a"), ("a/b", "../b"), ("b/a", "../a"), ("b/loop", "loop"), ("out", ".."),
    ):  # fmt: skip
        (tmp_path / "s" / link).symlink_to(target)
    for options in (ReadOptions(), FOLLOW):
        assert open_ct(folder, options).volume.shape[2] == 40
    assert open_ct(tmp_path / "s", FOLLOW).volume.shape[2] == 40
    assert open_ct(tmp_path / "s", FOLLOW).issues == ()
    assert "a" in paths(tmp_path / "s")
    assert paths(tmp_path / "s", follow_links=True).count("a") == 1
    assert len(sha256_of(tmp_path / "s", LinkRule(tmp_path / "s"))) == 64


def test_a_link_that_is_given_by_name_is_followed_and_one_that_leads_nowhere_is_refused(
    make_series, tmp_path, ct, refusal
):
    series = make_series()
    folder = series.write(tmp_path / "s")
    write_volume(tmp_path / "ct.nii.gz", ct)
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    (tmp_path / "links").mkdir()
    for name in ("s", "ct.nii.gz", "s.zip"):
        (tmp_path / "links" / name).symlink_to(tmp_path / name)
        assert open_ct(tmp_path / "links" / name).issues == ()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nothing.nii.gz").symlink_to("absent.nii.gz")
    for name in ("circle", "nothing.nii.gz"):
        assert refusal(tmp_path / name).code == "E_LINK_BROKEN"


def test_a_link_in_a_zip_is_never_followed(make_series, tmp_path, refusal):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        info = zipfile.ZipInfo("001.dcm")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    for options in (ReadOptions(), FOLLOW):
        assert refusal(tmp_path / "s.zip", options).code == "E_UNSAFE_ARCHIVE"


def test_the_voxels_of_a_linked_header_are_found_by_the_same_rule(tmp_path, ct, refusal):
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(ct.array.T))
    (tmp_path / "store").mkdir()
    (tmp_path / "links").mkdir()
    SimpleITK.WriteImage(image, str(tmp_path / "store" / "a.mhd"))
    (tmp_path / "links" / "a.mhd").symlink_to(tmp_path / "store" / "a.mhd")
    assert np.array_equal(open_ct(tmp_path / "links" / "a.mhd", FOLLOW).volume.array, ct.array)
    (tmp_path / "links" / "a.raw").symlink_to(tmp_path / "store" / "a.raw")
    error = refusal(tmp_path / "links" / "a.mhd")
    assert error.code == "E_DETACHED_DATA"
    assert "follow_links=True" in error.remedy
    for options in (FOLLOW, ReadOptions(links_within=tmp_path)):
        assert np.array_equal(open_ct(tmp_path / "links" / "a.mhd", options).volume.array, ct.array)


def test_every_volume_link_of_a_tree_is_a_case_followed_or_not(tmp_path, ct, refusal):
    store, tree = tmp_path / "store", tmp_path / "tree"
    (tree / "imagesTs").mkdir(parents=True)
    store.mkdir()
    write_volume(store / "c1.nii.gz", ct)
    (tree / "imagesTs" / "case1_0000.nii.gz").symlink_to("../../store/c1.nii.gz")
    (tree / "imagesTs" / "case2_0000.nii.gz").symlink_to("../../store/absent.nii.gz")
    (tree / "imagesTs" / "notes.txt").symlink_to("../../store/notes.txt")
    names = ["imagesTs/case1_0000.nii.gz", "imagesTs/case2_0000.nii.gz"]
    codes = {False: ["E_LINK_NOT_FOLLOWED", "E_LINK_BROKEN"], True: ["", "E_LINK_BROKEN"]}
    for follow in (False, True):
        sources = find_cases(tree, follow_links=follow).sources
        assert [source.path.relative_to(tree).as_posix() for source in sources] == names
        for source, code in zip(sources, codes[follow], strict=True):
            options = ReadOptions(follow_links=source.rule.anywhere, links_within=source.rule.inside)
            if code:
                assert refusal(source.path, options).code == code
            else:
                assert np.array_equal(open_ct(source.path, options).volume.array, ct.array)


def test_what_lies_behind_a_link_that_is_not_followed_is_not_read_for_a_sum(tmp_path):
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    tree.mkdir()
    (outside / "secret").write_text("one")
    (tree / "file").symlink_to(outside / "secret")
    (tree / "folder").symlink_to(outside)
    shut, opened = LinkRule(tree), LinkRule(tree, anywhere=True)
    before = [f(tree, rule) for f in (sha256_of, signature_of) for rule in (shut, opened)]
    (outside / "secret").write_text("other")
    after = [f(tree, rule) for f in (sha256_of, signature_of) for rule in (shut, opened)]
    assert [one == two for one, two in zip(before, after, strict=True)] == [True, False, True, False]
    (tree / "file").unlink()
    assert sha256_of(tree, shut) != before[0]


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="lungseg3d")


def test_the_program_names_a_link_to_nothing_and_follows_links_when_asked(make_series, tmp_path):
    (tmp_path / "ct.nii.gz").symlink_to("/nowhere/.git/annex/objects/a/b/KEY/KEY")
    result = run("check", "--json", tmp_path / "ct.nii.gz")
    assert result.exit_code == 3
    (issue,) = json.loads(result.stdout)["issues"]
    assert issue["code"] == "E_LINK_BROKEN"
    assert "git annex get" in issue["remedy"]
    assert run("check", tmp_path / "absent").exit_code == 2
    folder = moved_behind_links(make_series().write(tmp_path / "s"), tmp_path / "scratch")
    for words, code in ((["check"], 3), (["check", "--follow-links"], 0)):
        assert run(*words, folder).exit_code == code
    assert run("convert", folder, tmp_path / "out.nii.gz").exit_code == 3
    assert run("convert", "--follow-links", folder, tmp_path / "out.nii.gz").exit_code == 0
    assert (tmp_path / "out.nii.gz").is_file()


def test_prepare_names_the_links_that_it_does_not_follow_and_follows_them_when_asked(tmp_path, ct):
    for name in ("images", "labels"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "store" / name).mkdir(parents=True)
        array = ct.array if name == "images" else (ct.array > 0).astype(np.uint8)
        write_volume(tmp_path / "store" / name / "c1.nii.gz", Volume(array.astype(np.int16), ct.affine))
        (tmp_path / "data" / name / "c1.nii.gz").symlink_to(tmp_path / "store" / name / "c1.nii.gz")
    refused = run("prepare", "folder", tmp_path / "data", tmp_path / "out", "--label", "1=nodule")
    assert refused.exit_code == 3
    assert "E_LINK_NOT_FOLLOWED" in refused.stderr
    assert "--follow-links" in refused.stderr
    taken = run("prepare", "folder", tmp_path / "data", tmp_path / "out", "--label", "1=nodule", "--follow-links")
    assert taken.exit_code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["reading"] == {"follow_links": True}
    assert len(manifest["cases"]) == 1
