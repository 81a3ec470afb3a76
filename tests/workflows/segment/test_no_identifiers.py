"""Name, id, birth date, accession number and the rest of a patient, planted in an input, are in nothing that we write.

A case is named after its own file or folder, and a file that is broken by its name, as its user named them; folders
above them, and headers, stay out.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import Volume
from lungseg3d.core.labels import LABELS
from lungseg3d.io import open_ct, write_dicom_series, write_labels, write_volume
from lungseg3d.workflows.segment import cases as segment
from lungseg3d.workflows.segment.models import open_models
from lungseg3d.workflows.segment.options import SegmentOptions
from tests.support.follow_up_cases import chest_with, write_result
from tests.support.small_data import BUNDLES, NODULES, crops_overrides, small_crops

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


# What patient and study are, an object of the same patient must say; nothing else of the header goes into it.
MEANT = {
    *("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
    *("StudyDescription", "OtherPatientIDs"),
    # The scanner that made the source, which the standard has derived objects name.
    *("ContributingEquipmentSequence", "InstitutionName", "InstitutionAddress", "StationName", "DeviceSerialNumber"),
}


def test_a_batch_writes_nothing_of_the_patient_but_into_dicom_objects(source, bundles, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    words = ["batch", source, "--out", tmp_path / "out", "--workers", "1", "--track", "--format", "nifti,seg,sr"]
    words += ["--lung-bundle", bundles.lungs, "--nodule-bundle", bundles.nodules, "--device", "cpu"]
    code, said = run(*words, "--precision", "fp32")
    assert code == 8, said
    assert in_text(said.replace(str(tmp_path), "")) == []
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"journal.db", "summary.csv", "summary.json", "index.html", "mlruns.db", "scan-a", "scan-b"} <= names
    with sqlite3.connect(tmp_path / "out" / "journal.db") as database:
        ((timings,),) = database.execute("SELECT timings_s FROM cases WHERE case_id='scan-a'").fetchall()
    assert {"read", "lungs", "nodules", "measure", "objects", "write"} <= set(json.loads(timings))
    objects = list((tmp_path / "out").rglob("*.dcm"))
    assert {path.name for path in objects} == {"segmentation.dcm", "measurements.dcm"}
    for path in objects:
        found = {element.keyword for element in pydicom.dcmread(path).iterall() if in_text(str(element.value))}
        assert {"PatientName", "PatientID", "PatientBirthDate", "AccessionNumber"} <= found <= MEANT
        path.unlink()
    assert found_in(tmp_path / "out") == []
    code, said = run("batch", "--verify", tmp_path / "out")
    assert in_text(said) == []


def test_a_follow_up_knows_case_ids_only(source, tmp_path):
    balls = [((70, 20, 30), 20.0)]
    for name in ("prior", "current"):
        ct, *maps = chest_with(balls)
        write_dicom_series(source / f"{name}-ct", ct)
        plant(source / f"{name}-ct")
        ct = open_ct(source / f"{name}-ct").volume  # to the left and back, where the chest goes to the right and front
        write_result(source / name, ct, *(ct.with_array(one.array[::-1, ::-1]) for one in maps))
    cts = ["--prior-ct", source / "prior-ct", "--current-ct", source / "current-ct"]
    code, said = run("follow-up", source / "prior", source / "current", "--out", tmp_path / "out", *cts)
    assert code == 0, said
    assert in_text(said.replace(str(tmp_path), "")) == []
    assert {"follow_up.html", "follow_up.csv", "follow_up.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert found_in(tmp_path / "out") == []


def plant_nifti(path: Path) -> None:
    image = nibabel.load(path)
    for name, value in {
        "descrip": "Quistelgard^Xaverine 19310417",
        "db_name": "PID-7730911",
        "intent_name": "Xaverine",
    }.items():
        image.header[name] = value
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"ACC-66120034 of Quistelgard^Xaverine"))
    nibabel.save(image, path)


def test_a_prepared_folder_and_its_check_name_files_and_no_headers(source, chest, tmp_path):
    data = source / "set"
    for part in ("images", "labels"):
        (data / part).mkdir(parents=True)
    for name in ("a", "b", "c"):
        write_volume(data / "images" / f"{name}.nii.gz", chest.ct)
        write_labels(data / "labels" / f"{name}.nii.gz", chest.labels)
        plant_nifti(data / "images" / f"{name}.nii.gz")
        plant_nifti(data / "labels" / f"{name}.nii.gz")
    write_labels(data / "labels" / "b.nii.gz", Volume(np.zeros((3, 3, 3), np.uint8), np.eye(4)))
    assert len(found_in(data)) > 5
    (data / "images" / "c.nii.gz").write_bytes((data / "images" / "c.nii.gz").read_bytes()[:3000])
    names = [word for label in LABELS for word in ("--label", f"{label.value}={label.name}")]
    code, said = run("prepare", "folder", data, tmp_path / "out", "--folds", "2", *names)
    assert code == 8, said
    assert in_text(said.replace(str(tmp_path), "")) == []
    code, said = run("prepare", "check", tmp_path / "out" / "manifest.json", "--no-lungs")
    assert code == 0, said
    assert in_text(said.replace(str(tmp_path), "")) == []
    (tmp_path / "out" / "source").unlink()  # the way to the data, on this machine alone
    assert found_in(tmp_path / "out") == []


def test_a_prepared_dataset_of_dicom_series_has_the_publishers_patient_id_and_nothing_else(source, tmp_path):
    """Folds are kept apart and cases are named by it; a published dataset's is a pseudonym."""
    data = tmp_path / "data"
    shutil.copytree(source / "scan-a", data / "p1" / "ct")
    uids = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted((data / "p1" / "ct").glob("*.dcm"))]
    roi = f"<roi><imageSOP_UID>{uids[9].SOPInstanceUID}</imageSOP_UID><imageZposition>0</imageZposition>"
    edges = "".join(
        f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in ((9, 9), (14, 9), (14, 14), (9, 14))
    )
    nodule = f"<unblindedReadNodule><noduleID>1</noduleID>{roi}<inclusion>TRUE</inclusion>{edges}</roi>"
    series = f"<ResponseHeader><SeriesInstanceUid>{uids[0].SeriesInstanceUID}</SeriesInstanceUid></ResponseHeader>"
    session = f"<readingSession>{nodule}</unblindedReadNodule></readingSession>"
    (data / "r.xml").write_text(f'<LidcReadMessage xmlns="http://www.nih.gov">{series}{session * 4}</LidcReadMessage>')
    code, said = run("prepare", "lidc", data, tmp_path / "out")
    assert code == 0, said
    content = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [case["patient"] for case in content["cases"]] == [PLANTED["PatientID"]]
    (tmp_path / "out" / "source").unlink()
    assert [hit for hit in found_in(tmp_path / "out") if not hit.startswith(PLANTED["PatientID"])] == []


@pytest.mark.slow
def test_a_comparison_its_trainings_and_their_tracking_know_case_ids_only(tmp_path, monkeypatch):
    """Patients' names are in headers, and in folders inside the data; the commands name the data's own folder."""
    (tmp_path / "data").mkdir()
    data = small_crops(tmp_path / "data")
    content = json.loads((data / "crops.json").read_text())
    (data / "Quistelgard, Xaverine").mkdir()
    for case in content["cases"]:
        for role, name in case["files"].items():
            (data / name).rename(data / "Quistelgard, Xaverine" / name)
            plant_nifti(data / "Quistelgard, Xaverine" / name)
            case["files"][role] = f"Quistelgard, Xaverine/{name}"
    (data / "crops.json").write_text(json.dumps(content))
    asked = [word for key, value in crops_overrides(data).items() for word in ("--set", f"{key}={value}")]
    del asked[asked.index("network_def::channels=[4, 8]") - 1 : asked.index("network_def::channels=[4, 8]") + 1]
    words = [
        "compare",
        BUNDLES / NODULES,
        "--networks",
        "light_unet,se_unet",
        "--folds",
        "1",
        "--out",
        tmp_path / "out",
    ]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    program = [sys.executable, "-c", "from lungseg3d.cli import main; main()", *map(str, words), *asked]
    ran = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert in_text(ran.stdout + ran.stderr) == []
    names = {path.name for path in (tmp_path / "out").rglob("*")}
    assert {"last.pt", "model.pt", "mlruns.db", "compare.html", "compare.json", "cases.csv"} <= names
    assert found_in(tmp_path / "out") == []


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
