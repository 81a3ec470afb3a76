"""`explain`: a picture and a map of the nodule that is asked for, of the CT that it was found in, and of no other."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import Box, CaseResult, IntakeError, UsageError, Volume
from lungseg3d.io import read_labels, write_volume
from lungseg3d.workflows.explain import ExplainOptions, _numbers_there, explain, network_layers
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases
from tests.support.follow_up_cases import nodule_at
from tests.support.schema_cases import as_schema_2


@pytest.fixture(scope="module")
def done(chest, bundles, tmp_path_factory) -> SimpleNamespace:
    """The chest segmented by networks that see brightness alone."""
    folder = tmp_path_factory.mktemp("explain")
    write_volume(folder / "scan.nii.gz", chest.ct)
    options = SegmentOptions(device="cpu", precision="fp32", lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)
    (result,) = segment_cases([folder / "scan.nii.gz"], folder / "out", options)
    return SimpleNamespace(
        ct=folder / "scan.nii.gz", results=folder / "out" / result.case_id, options=options, bundle=bundles.nodules
    )


def test_the_command_writes_a_picture_and_a_map_beside_the_results(done):
    arguments = ["explain", str(done.results), "--ct", str(done.ct), "--nodule-bundle", str(done.bundle)]
    shown = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert shown.exit_code == 0, shown.output
    assert "Nodule 1 at layer decoder.0: " in shown.stdout
    stem = done.results / "explanation-nodule-1-decoder-0"
    heat = nibabel.load(f"{stem}.nii.gz").get_fdata()
    nodule = read_labels(done.results / "nodules.nii.gz").array == 1
    assert heat.shape == nodule.shape
    assert np.median(heat[nodule]) > 0.5
    with Image.open(f"{stem}.png") as picture:
        assert picture.width > 3 * 340


def test_a_ct_alone_is_segmented_first(done, tmp_path):
    made = explain(done.ct, tmp_path, ExplainOptions(segment=done.options))
    assert made.picture.parent == tmp_path / done.results.name
    assert (made.picture.parent / "result.json").is_file()
    assert 0 < made.inside < 1


def test_layers_are_listed_and_any_of_them_can_be_asked_for(done):
    names = [layer.name for layer in network_layers(done.options)]
    assert {"encoder.0", "encoder.1", "decoder.0", "head"} <= set(names)
    made = explain(done.results, None, ExplainOptions(layer="encoder.1", ct=done.ct, segment=done.options))
    assert made.layer == "encoder.1"
    shown = CliRunner().invoke(app, ["explain", "--list-layers", "--nodule-bundle", str(done.bundle)])
    assert "encoder.1" in shown.stdout


def test_what_is_missing_or_does_not_belong_together_is_named(done, chest, tmp_path):
    def asked(**changes) -> ExplainOptions:
        return ExplainOptions(**{"ct": done.ct, "segment": done.options, **changes})

    with pytest.raises(UsageError, match=r"(?s)E_NO_CT.*--ct CT"):
        explain(done.results, None, asked(ct=None))
    with pytest.raises(UsageError, match=r"(?s)E_NO_NODULE.*no finding 7.*There is nodule 1"):
        explain(done.results, None, asked(nodule=7))
    with pytest.raises(UsageError, match="E_NO_LAYER"):
        explain(done.results, None, asked(layer="encodr.1"))
    brighter = tmp_path / "brighter.nii.gz"
    write_volume(brighter, chest.ct.with_array(chest.ct.array + np.int16(60)))
    with pytest.raises(IntakeError, match=r"E_OTHER_CT.*HU in this CT"):
        explain(done.results, None, asked(ct=brighter))
    before = {path.name for path in Path(done.results).iterdir()}
    smaller = tmp_path / "smaller.nii.gz"
    write_volume(smaller, chest.ct.crop(Box((0, 0, 0), (*chest.ct.shape[:2], chest.ct.shape[2] - 1))))
    with pytest.raises(IntakeError, match=r"E_OTHER_CT.*voxels"):
        explain(done.results, None, asked(ct=smaller))
    assert {path.name for path in Path(done.results).iterdir()} == before


def test_a_candidate_is_explained_too_and_called_one(done, tmp_path):
    results = Path(shutil.copytree(done.results, tmp_path / "scan"))
    as_schema_2(results, {1: "below-point"})
    words = ["explain", str(results), "--ct", str(done.ct), "--nodule-bundle", str(done.bundle), "--device", "cpu"]
    shown = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "Candidate 1 (less sure than the operating point asks for) at layer decoder.0: " in shown.stdout
    assert nibabel.load(results / "explanation-nodule-1-decoder-0.nii.gz").get_fdata().max() > 0.5
    with pytest.raises(
        UsageError, match=r"(?s)no finding 2.*No nodule is listed; there is behind the list candidate 1\."
    ):
        explain(results, None, ExplainOptions(2, ct=done.ct, segment=done.options))


@pytest.mark.parametrize(
    ("listed", "behind", "said"),
    [
        (0, 0, "None was found in this CT."),
        (3, 0, "There are nodules 1 to 3."),
        (1, 1, "There is nodule 1, and behind the list candidate 2."),
        (0, 2, "No nodule is listed; there are behind the list candidates 1 to 2."),
        (2, 3, "There are nodules 1 to 2, and behind the list candidates 3 to 5."),
    ],
)
def test_the_numbers_that_can_be_asked_for_are_named(listed, behind, said):
    found = [nodule_at(number, (0, 0, 0)) for number in range(1, listed + behind + 1)]
    result = CaseResult("c", "done", nodules=tuple(found[:listed]), candidates=tuple(found[listed:]))
    map_of_all = Volume(np.arange(listed + behind + 1, dtype=np.uint16).reshape(-1, 1, 1), np.eye(4))
    assert _numbers_there(result, map_of_all) == said
