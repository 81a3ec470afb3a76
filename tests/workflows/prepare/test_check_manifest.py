"""Planted faults are found, each with its own code; a clean dataset has none."""

import json

import numpy as np
import pytest

from lungseg3d.core import Volume
from lungseg3d.data import PhantomSpec, make_phantom, read_manifest
from lungseg3d.io import sha256_of, write_labels, write_volume
from lungseg3d.workflows.prepare.check import check_manifest
from lungseg3d.workflows.prepare.folder import find_folder
from lungseg3d.workflows.prepare.run import prepare

SHAPE, AFFINE = (16, 14, 22), np.diag([2.0, 2.0, 5.0, 1.0])


def make_ct(seed):
    hu = np.full(SHAPE, -1000, np.int16)
    hu[2:14, 2:12] = 40
    hu[4:7, 4:10] = -850
    return Volume(hu + np.random.default_rng(seed).integers(0, 9, SHAPE).astype(np.int16), AFFINE)


@pytest.fixture
def dataset(tmp_path):
    """Three clean cases and their manifest, whose label 1 is a nodule."""
    root = tmp_path / "data"
    for n in range(3):
        mask = np.zeros(SHAPE, np.uint8)
        mask[4:6, 5:8, 6:9] = 1
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "labels").mkdir(exist_ok=True)
        write_volume(root / "images" / f"c{n}.nii.gz", make_ct(n))
        write_labels(root / "labels" / f"c{n}.nii.gz", Volume(mask, AFFINE))
    manifest = prepare(find_folder(root), root, tmp_path / "out").manifest
    change(manifest, lambda content: content.update(structures={"1": "nodule"}))
    return manifest


def change(manifest, edit):
    content = json.loads(manifest.read_text())
    edit(content)
    manifest.write_text(json.dumps(content))


def relabel(dataset, array, affine=AFFINE, n=1):
    write_labels(dataset.parent / "source" / "labels" / f"c{n}.nii.gz", Volume(array, affine))
    forget_sums(dataset)


def reimage(dataset, write, n=1):
    write(dataset.parent / "source" / "images" / f"c{n}.nii.gz")
    forget_sums(dataset)


def forget_sums(dataset):
    change(dataset, lambda content: [case.pop("sha256", None) for case in content["cases"]])


def faults(dataset, **options):
    _, found = check_manifest(dataset, dataset.parent, **options)
    assert all(fault.issue.remedy for fault in found)
    return [(fault.case_id, fault.issue.code) for fault in found]


def test_a_clean_dataset_has_no_fault(dataset):
    assert faults(dataset) == []


def test_an_unknown_label_value_is_found(dataset):
    mask = np.zeros(SHAPE, np.uint8)
    mask[4, 4, 4], mask[5, 5, 5] = 1, 7
    relabel(dataset, mask)
    assert faults(dataset) == [("c1", "E_LABEL_VALUES")]


def test_a_label_apart_from_its_image_is_found_with_the_distance(dataset):
    apart = AFFINE.copy()
    apart[2, 3] = 2.5
    relabel(dataset, np.ones(SHAPE, np.uint8), apart)
    _, (fault,) = check_manifest(dataset, dataset.parent)
    assert fault.issue.code == "E_GRID_MISMATCH"
    assert "2.50 mm apart" in fault.issue.message


def test_an_empty_label_is_found_unless_the_readers_found_nothing(dataset):
    relabel(dataset, np.zeros(SHAPE, np.uint8))
    assert faults(dataset) == [("c1", "E_EMPTY_LABEL")]
    change(dataset, lambda content: content["cases"][1].update(facts={"nodules": [{"accepted": False}]}))
    assert faults(dataset) == []


def test_nan_in_an_image_is_found(dataset):
    import nibabel

    hu = make_ct(1).array.astype(np.float32)
    hu[7:9, 7:9, 10] = np.nan
    reimage(dataset, lambda path: nibabel.save(nibabel.Nifti1Image(hu, AFFINE), path))
    assert faults(dataset) == [("c1", "E_NONFINITE")]


def test_an_image_that_is_no_ct_is_found(dataset):
    positive = np.abs(np.random.default_rng(0).normal(300, 100, SHAPE)).astype(np.int16)
    reimage(dataset, lambda path: write_volume(path, Volume(positive, AFFINE)))
    ((case_id, code),) = faults(dataset)
    assert (case_id, code) in [("c1", "E_NOT_CT"), ("c1", "E_NOT_HOUNSFIELD")]


def test_twins_are_found(dataset):
    reimage(dataset, lambda path: write_volume(path, make_ct(0)))
    assert faults(dataset) == [("c1", "E_DUPLICATE_CASE")]


def test_a_changed_file_is_found(dataset):
    write_volume(dataset.parent / "source" / "images" / "c2.nii.gz", make_ct(9))
    assert faults(dataset) == [("c2", "E_CHECKSUM")]


def test_a_missing_file_is_found_and_the_rest_is_still_checked(dataset):
    (dataset.parent / "source" / "labels" / "c0.nii.gz").unlink()
    write_volume(dataset.parent / "source" / "images" / "c2.nii.gz", make_ct(9))
    assert faults(dataset) == [("c0", "E_MISSING_DATA"), ("c2", "E_CHECKSUM")]


def test_a_patient_in_two_folds_is_found(dataset):
    change(dataset, lambda content: [c.update(patient="p", fold=n) for n, c in enumerate(content["cases"])])
    assert faults(dataset) == [("", "E_SPLIT_LEAK")]


@pytest.mark.parametrize("reading", [{"no_such_option": 1}, ["x"]])
def test_reading_options_that_are_none_are_named(dataset, reading):
    change(dataset, lambda content: content.update(reading=reading))
    _, found = check_manifest(dataset, dataset.parent)
    assert {fault.issue.code for fault in found} == {"E_MANIFEST"}


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(PhantomSpec(seed=5, shape=(70, 56, 56), spacing_mm=(6.0, 6.0, 6.0), nodule_count=0))


@pytest.mark.parametrize(("where", "codes"), [("lung", []), ("outside", ["E_NODULE_OUTSIDE_LUNGS"])])
@pytest.mark.parametrize("as_mask", [True, False], ids=["mask", "centre"])
def test_a_nodule_outside_the_lungs_is_found(phantom, tmp_path, where, codes, as_mask):
    lungs = phantom.labels.array > 0
    inside = np.argwhere(lungs)
    place = inside[len(inside) // 2] if where == "lung" else np.array([35, 2, 28])
    write_volume(tmp_path / "ct.nii.gz", phantom.ct)
    case = {"case_id": "a", "files": {"image": "ct.nii.gz"}}
    if as_mask:
        mask = np.zeros(lungs.shape, np.uint8)
        mask[tuple(place)] = 1
        write_labels(tmp_path / "mask.nii.gz", phantom.ct.with_array(mask))
        case["files"]["label"] = "mask.nii.gz"
    else:
        case["facts"] = {"nodules": [{"centre_ras_mm": phantom.ct.grid.to_world(place).tolist()}]}
    case["sha256"] = {"image": sha256_of(tmp_path / "ct.nii.gz")}
    content = {"name": "x", "source": "test", "conventions": {"label": {"1": "nodule"}}, "cases": [case]}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert [code for _, code in faults(tmp_path / "manifest.json")] == codes
    assert faults(tmp_path / "manifest.json", lungs=False) == []


def test_a_nodule_of_the_facts_is_judged_beside_a_label_of_lungs(phantom, tmp_path):
    write_volume(tmp_path / "ct.nii.gz", phantom.ct)
    write_labels(tmp_path / "lungs.nii.gz", phantom.labels)
    facts = {"nodules": [{"centre_ras_mm": phantom.ct.grid.to_world(np.array([35, 2, 28])).tolist()}]}
    case = {"case_id": "a", "files": {"image": "ct.nii.gz", "label": "lungs.nii.gz"}, "facts": facts}
    names = {"label": {"1": "right lung", "2": "left lung"}}
    content = {"name": "x", "source": "test", "conventions": names, "cases": [case]}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert faults(tmp_path / "manifest.json") == [("a", "E_NODULE_OUTSIDE_LUNGS")]


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "folder", "cases"),
    [
        # 930 cubes and their labels are read whole: 20 s for data that do not change.
        pytest.param("nodules_luna", "nodules_luna", 930, marks=pytest.mark.slow),
        ("lung_validation", ".", 1),
    ],
)
def test_a_shipped_manifest_is_clean(real_data, name, folder, cases):
    for case in read_manifest(name)["cases"]:
        for path in case["files"].values():
            assert (real_data / folder / path).exists()
    assert check_manifest(name, real_data / folder) == (cases, [])
