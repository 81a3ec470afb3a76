"""A bundle keeps what it was trained on, and an evaluation finds it."""

import json

import pytest

from lungseg3d.core import OutputError
from lungseg3d.data import read_manifest, trained_on
from lungseg3d.workflows.train.record import write_training_record


@pytest.fixture
def manifest(tmp_path):
    cases = [{"case_id": f"c{n}", "patient": f"p{n}", "fold": n % 2, "files": {"image": f"{n}.nii"}} for n in range(6)]
    (tmp_path / "m.json").write_text(json.dumps({"name": "set", "source": "test", "licence": "CC0", "cases": cases}))
    return tmp_path / "m.json"


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    return tmp_path / "bundle"


@pytest.mark.parametrize(("fold", "seen"), [(None, "c0 c1 c2 c3 c4 c5"), (0, "c1 c3 c5"), (1, "c0 c2 c4")])
def test_what_was_held_out_is_not_seen(bundle, manifest, fold, seen):
    write_training_record(bundle, [(manifest, fold)])
    assert [case.case_id for case in trained_on(bundle, read_manifest(manifest)["cases"], "set")] == seen.split()


def test_shipped_manifests_are_known_by_name_and_the_record_is_always_the_same(bundle):
    used = [("nodules_lidc", 0), ("lung_cts", None)]
    first = write_training_record(bundle, used).read_bytes()
    assert write_training_record(bundle, used).read_bytes() == first
    content = read_manifest("nodules_lidc")
    seen = {case.case_id for case in trained_on(bundle, content["cases"], content["name"])}
    assert seen == {case["case_id"] for case in content["cases"] if case["fold"] != 0}


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(OutputError, match="E_WRITE"):
        write_training_record(tmp_path, [("nodules_lidc", None)])
