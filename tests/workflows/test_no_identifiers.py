"""Name, id, birth date, accession number and the rest of a patient, planted in an input, are in nothing that we write.

A case is named after its own file or folder, and a file that is broken by its name, as its user named them; folders
above them, and headers, stay out.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import Volume
from lungseg3d.io import write_dicom_series, write_labels
from lungseg3d.workflows import segment
from lungseg3d.workflows.segment_models import open_models
from lungseg3d.workflows.segment_options import SegmentOptions

PLANTED = {
    "PatientName": "Quistelgard^Xaverine",
    "PatientID": "PID-7730911",
    "OtherPatientIDs": "OTHER-5512",
    "PatientBirthDate": "19310417",
    "PatientAddress": "Zwirngasse 99",
    "PatientTelephoneNumbers": "+49-555-0188",
    "AccessionNumber": "ACC-66120034",
    "ReferringPhysicianName": "Brandolf^Ortrun",
    "PerformingPhysicianName": "Fridolina^Ute",
    "OperatorsName": "Klabund^Egon",
    "InstitutionName": "Klinikum Wolkenheim",
    "InstitutionAddress": "Hinterm Mond 3",
    "StationName": "STATION-XQ7",
    "StudyID": "STUDY-80017",
    "StudyDescription": "CT of Quistelgard",
    "SeriesDescription": "Thorax Quistelgard 1931",
    "PatientComments": "calls herself Xaverine",
    "RequestedProcedureDescription": "for Dr Brandolf",
    "DeviceSerialNumber": "SN-4711-0815",
}
_WORDS = {part for value in PLANTED.values() for part in (value, *value.replace("^", " ").split()) if len(part) > 5}
_FORMS = {"Quistelgard, Xaverine", "xaverine_folder", "17.04.1931", "1931-04-17"}
SECRETS = sorted(_WORDS - {"Thorax", "herself", "Klinikum"} | _FORMS)


def plant(folder: Path) -> None:
    for path in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for keyword, value in PLANTED.items():
            setattr(dataset, keyword, value)
        block = dataset.private_block(0x0099, "WOLKENHEIM", create=True)
        block.add_new(0x01, "LO", PLANTED["PatientName"])
        dataset.save_as(path)


@pytest.fixture
def source(chest, tmp_path) -> Path:
    """The chest of a patient, in a folder named after her."""
    above = tmp_path / "in" / "Quistelgard, Xaverine" / "xaverine_folder"
    write_dicom_series(above / "scan-a", chest.ct)
    plant(above / "scan-a")
    write_dicom_series(above / "scan-b", chest.ct)
    plant(above / "scan-b")
    next((above / "scan-b").glob("slice-0009*")).unlink()  # refused, and the reason said
    (above / "scan-c").mkdir()
    broken = next((above / "scan-a").glob("slice-0003*")).read_bytes()[:2000]
    (above / "scan-c" / "slice.dcm").write_bytes(broken)
    return above


def found_in(folder: Path) -> list[str]:
    """Where a secret stands: in names, in bytes, in what is packed, in databases."""
    hits = []
    for path in folder.rglob("*"):
        texts = [path.relative_to(folder).as_posix().encode()]
        if path.is_file():
            data = path.read_bytes()
            texts.append(data)
            if data[:2] == b"\x1f\x8b":
                import gzip

                texts.append(gzip.decompress(data))
            if data.startswith(b"SQLite"):
                with sqlite3.connect(path) as database:
                    texts.append("\n".join(database.iterdump()).encode())
        hits += [f"{secret} in {path.name}" for secret in SECRETS for text in texts if secret.encode() in text]
    return hits


def in_text(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words], prog_name="lungseg3d")
    return done.exit_code, done.output


def test_the_secrets_would_be_found(source):
    assert len(found_in(source)) > 40


@pytest.mark.filterwarnings("ignore")
def test_segment_and_check_write_and_say_nothing_of_the_patient(source, bundles, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    options = SegmentOptions(device="cpu", precision="fp32", lung_bundle=bundles.lungs, nodule_bundle=bundles.nodules)
    monkeypatch.setattr(segment, "open_models", lambda _: open_models(options))
    inputs = [source / name for name in ("scan-a", "scan-b", "scan-c")]
    code, said = run("segment", *inputs, "--out", tmp_path / "out")
    assert code == 8, said
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["scan-a", "scan-b", "scan-c"]
    assert found_in(tmp_path / "out") == []
    for path in inputs:
        said += run("check", path)[1] + run("check", path, "--json")[1]
    assert in_text(said) == []
    assert [secret for record in caplog.records for secret in in_text(record.getMessage())] == []


def test_convert_keeps_nothing_but_the_voxels(source, tmp_path):
    (tmp_path / "out").mkdir()
    for ending in (".nii.gz", ".nrrd", ".mha"):
        code, said = run("convert", source / "scan-a", tmp_path / "out" / f"ct{ending}")
        assert code == 0, said
        assert in_text(said) == []
    assert found_in(tmp_path / "out") == []


def test_an_evaluation_and_its_tracking_know_case_ids_only(source, chest, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_labels(source / "label.nii.gz", chest.ct.with_array((chest.labels.array == 3).astype(np.uint8)))
    predictions = source / "predictions"
    predictions.mkdir()
    write_labels(predictions / "a.nii.gz", Volume(chest.labels.array, chest.ct.affine))
    files = {"image": "scan-a", "label": "label.nii.gz"}
    case = {"case_id": "a", "patient": "p1", "files": files}
    content = {"name": "chests", "source": "t", "structures": {"1": "nodule"}, "cases": [case]}
    (source / "m.json").write_text(json.dumps(content))
    words = ["--manifest", source / "m.json", "--predictions", predictions, "--out", tmp_path / "out", "--track"]
    code, said = run("evaluate", *words)
    assert code == 0, said
    assert in_text(said.replace(str(tmp_path), "")) == []
    assert found_in(tmp_path / "out") == []
