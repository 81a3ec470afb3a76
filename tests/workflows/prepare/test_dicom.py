"""Datasets of DICOM series and annotations: masks and boxes land on the slices that the annotations name."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lungseg3d.core import LungSegError, Volume
from lungseg3d.data import ConsensusRule, label_structures
from lungseg3d.data.public.lidc_xml import RATINGS
from lungseg3d.io import SeriesSpec, open_ct, read_labels, write_dicom_series
from lungseg3d.workflows.prepare.lidc import find_lidc
from lungseg3d.workflows.prepare.pet_ct import find_lung_pet_ct_dx
from lungseg3d.workflows.prepare.radiomics import find_nsclc_radiomics
from lungseg3d.workflows.prepare.run import prepare

SHAPE = (24, 20, 21)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def ct(tmp_path):
    """A series in `data/p1/ct`, its reading, and the SOPInstanceUID of each slice."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[2:22, 2:18] = 40
    hu[4:10, 4:16], hu[14:20, 4:16] = -850, -860
    affine = np.diag([1.5, 1.5, 5.0, 1.0])
    affine[:3, 3] = [-20.0, 7.0, -300.0]
    folder = tmp_path / "data" / "p1" / "ct"
    write_dicom_series(folder, Volume(hu, affine))
    reading = open_ct(folder)
    headers = [dcmread(path, stop_before_pixels=True) for path in reading.files]
    reading.source["uids"] = [str(header.SOPInstanceUID) for header in headers]
    reading.source["series"] = str(headers[0].SeriesInstanceUID)
    reading.source["frame"] = str(headers[0].FrameOfReferenceUID)
    reading.source["patient"] = str(headers[0].PatientID)
    return reading


def lidc_xml(ct, per_reader) -> str:
    """A reading: `per_reader[i]` is a list of (slice, low, high) squares, whose outlines are drawn just outside."""
    sessions = ""
    for number, slices in enumerate(per_reader):
        rois = ""
        for k, low, high in slices:
            a, b = low - 1, high + 1
            points = [(a, a), (b, a), (b, b), (a, b)]
            edge = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
            uid = f"<imageSOP_UID>{ct.source['uids'][k]}</imageSOP_UID><imageZposition>0</imageZposition>"
            rois += f"<roi>{uid}<inclusion>TRUE</inclusion>{edge}</roi>"
        ratings = "".join(f"<{name}>{number + 1}</{name}>" for name in RATINGS)
        nodule = f"<noduleID>{number}</noduleID><characteristics>{ratings}</characteristics>{rois}"
        marked = f"<unblindedReadNodule>{nodule}</unblindedReadNodule>" if slices else ""
        sessions += f"<readingSession>{marked}</readingSession>"
    series = f"<ResponseHeader><SeriesInstanceUid>{ct.source['series']}</SeriesInstanceUid></ResponseHeader>"
    return f'<LidcReadMessage xmlns="http://www.nih.gov">{series}{sessions}</LidcReadMessage>'


def lidc(tmp_path, ct, per_reader, **rule):
    source = tmp_path / "data"
    (source / "reading.xml").write_text(lidc_xml(ct, per_reader))
    return prepare(find_lidc(source, ConsensusRule(**rule)), source, tmp_path / "out")


def test_a_lidc_nodule_lands_on_the_slices_that_its_contours_name(tmp_path, ct):
    done = lidc(tmp_path, ct, [[(7, 5, 8), (8, 5, 8)]] * 3 + [[]])
    (case,) = done.content["cases"]
    mask = read_labels(tmp_path / "out" / case["files"]["label"])
    assert mask.grid.matches(ct.volume.grid)
    assert np.argwhere(mask.array).min(0).tolist() == [5, 5, 7]
    assert np.argwhere(mask.array).max(0).tolist() == [8, 8, 8]
    assert mask.array.sum() == 32
    (nodule,) = case["facts"]["nodules"]
    assert (nodule["readers"], nodule["volume_mm3"]) == (3, 32 * 1.5 * 1.5 * 5)
    assert nodule["median_ratings"]["texture"] == 2.0
    assert nodule["centre_ras_mm"] == np.round(ct.volume.grid.to_world(np.array([6.5, 6.5, 7.5])), 2).tolist()
    assert case["facts"]["series_uid"] == ct.source["series"]


def test_the_outlines_own_pixels_count_when_asked_for(tmp_path, ct):
    (case,) = lidc(tmp_path, ct, [[(7, 5, 8)]] * 3, contour_pixels=True).content["cases"]
    assert read_labels(tmp_path / "out" / case["files"]["label"]).array.sum() == 36


def test_a_nodule_of_two_readers_is_ignored_rather_than_labelled(tmp_path, ct):
    done = lidc(tmp_path, ct, [[(7, 5, 8)]] * 2 + [[]] * 2)
    (case,) = done.content["cases"]
    assert read_labels(tmp_path / "out" / case["files"]["label"]).array.sum() == 0
    assert read_labels(tmp_path / "out" / case["files"]["ignore"]).array.sum() == 36
    assert done.content["conventions"]["consensus"]["min_readers"] == 3


def test_a_series_without_a_reading_is_refused_and_a_folder_without_any_is_no_lidc(tmp_path, ct):
    source = tmp_path / "data"
    with pytest.raises(LungSegError, match="E_NO_CASES"):
        find_lidc(source)
    text = lidc_xml(ct, [[(7, 5, 8)]] * 3).replace(ct.source["series"], "1.2.3")
    (source / "other.xml").write_text(text)
    (refused,) = prepare(find_lidc(source), source, tmp_path / "out").content["refused"]
    assert refused["code"] == "E_NO_LABEL"


def test_a_broken_reading_is_listed_by_its_name(tmp_path, ct):
    (tmp_path / "data" / "broken.xml").write_text("<LidcReadMessage>")
    done = lidc(tmp_path, ct, [[(7, 5, 8)]] * 3)
    assert done.statuses == ("done", "refused")
    assert (done.content["refused"][0]["case_id"], done.content["refused"][0]["code"]) == ("broken", "E_XML")


def write_rtstruct(path, ct, squares, frame=None):
    """`squares`: structure name -> list of (slice, low, high) in voxels, each an axial square around them."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.PatientID, dataset.SeriesInstanceUID = "RTSTRUCT", ct.source["patient"], generate_uid()
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    series, study, reference = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = ct.source["series"] if frame is None else "1.2.3"
    reference.FrameOfReferenceUID = ct.source["frame"] if frame is None else frame
    study.RTReferencedSeriesSequence, reference.RTReferencedStudySequence = [series], [study]
    dataset.ReferencedFrameOfReferenceSequence = [reference]
    for number, (name, parts) in enumerate(squares.items(), 1):
        definition, drawing = Dataset(), Dataset()
        definition.ROINumber = drawing.ReferencedROINumber = number
        definition.ROIName = name
        definition.ReferencedFrameOfReferenceUID = reference.FrameOfReferenceUID
        drawing.ContourSequence = []
        for k, low, high in parts:
            (x0, y0), (x1, y1) = np.array(low) - 0.5, np.array(high) + 0.5
            corners = np.array([[x0, y0, k], [x1, y0, k], [x1, y1, k], [x0, y1, k]])
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", 4
            item.ContourData = [round(float(v), 3) for v in (ct.volume.grid.to_world(corners) * [-1, -1, 1]).ravel()]
            drawing.ContourSequence.append(item)
        dataset.StructureSetROISequence.append(definition)
        dataset.ROIContourSequence.append(drawing)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


# Columns run to the patient's left: the low ones lie on the right.
RIGHT, LEFT = [(k, (4, 4), (9, 15)) for k in range(3, 15)], [(k, (14, 4), (19, 15)) for k in range(3, 15)]
TUMOUR = [(6, (5, 5), (7, 7))]


def radiomics(tmp_path, ct, squares, **options):
    source = tmp_path / "data"
    write_rtstruct(source / "p1" / "rt" / "1.dcm", ct, squares, **options)
    return prepare(find_nsclc_radiomics(source), source, tmp_path / "out")


def test_structures_become_lungs_and_a_tumour_on_the_ct_they_refer_to(tmp_path, ct):
    names = {"Lung_R": RIGHT, "Lung-Left": LEFT, "GTV-1": TUMOUR, "GTV-2": [(8, (5, 5), (5, 5))], "GTVn": LEFT}
    content = radiomics(tmp_path, ct, names).content
    (case,) = content["cases"]
    assert {value: label.name for value, label in label_structures(content).items()} == {
        1: "right_lung",
        2: "left_lung",
    }
    assert "issues" not in case or "W_CT_NOT_IDENTIFIED" not in " ".join(case["issues"])
    lungs = read_labels(tmp_path / "out" / case["files"]["label"])
    assert lungs.grid.matches(ct.volume.grid)
    assert [(lungs.array == value).sum() for value in (1, 2)] == [12 * 6 * 12] * 2
    assert lungs.array[4, 4, 3] == 1
    tumour = read_labels(tmp_path / "out" / case["files"]["tumour"])
    assert tumour.array.sum() == 9 + 1
    assert (case["files"]["image"], case["patient"]) == ("source/p1/ct", ct.source["patient"])


def test_sides_are_told_by_their_place_when_their_names_are_wrong(tmp_path, ct):
    (case,) = radiomics(tmp_path, ct, {"Lung-Right": LEFT, "Lung-Left": RIGHT}).content["cases"]
    assert read_labels(tmp_path / "out" / case["files"]["label"]).array[4, 4, 3] == 1
    remarks = " ".join(case["issues"])
    assert "W_SIDES_SWAPPED" in remarks
    assert "W_NO_STRUCTURE" in remarks


def test_structures_without_lungs_or_of_another_ct_are_refused(tmp_path, ct):
    (refused,) = radiomics(tmp_path, ct, {"Lung-Left": LEFT, "Heart": RIGHT}).content["refused"]
    assert refused["code"] == "E_NO_STRUCTURE"
    assert "Heart" in refused["reason"]
    (refused,) = radiomics(tmp_path, ct, {"Lung-Left": LEFT, "Lung-Right": RIGHT}, frame="1.9").content["refused"]
    assert refused["code"] == "E_OTHER_REFERENCE"


def test_a_folder_of_two_series_is_refused_when_the_other_one_would_be_read(tmp_path, ct):
    thin = np.repeat(ct.volume.array, 2, axis=2)
    affine = ct.volume.affine @ np.diag([1, 1, 0.5, 1])
    for path in write_dicom_series(tmp_path / "thin", Volume(thin, affine), spec=SeriesSpec(number=2)):
        path.rename(tmp_path / "data" / "p1" / "ct" / f"thin-{path.name}")
    done = lidc(tmp_path, ct, [[(7, 5, 8)]] * 3)
    assert "E_SERIES_MIXED" in {refused["code"] for refused in done.content["refused"]}
    assert done.content["cases"] == []


def box_xml(x0, y0, x1, y1):
    edges = zip(("xmin", "ymin", "xmax", "ymax"), (x0, y0, x1, y1), strict=True)
    box = "".join(f"<{name}>{value}</{name}>" for name, value in edges)
    return f"<annotation><object><name>A</name><bndbox>{box}</bndbox></object></annotation>"


def test_boxes_become_world_mm_on_the_slice_whose_name_their_file_has(tmp_path, ct):
    source = tmp_path / "data"
    (source / f"{ct.source['uids'][6]}.xml").write_text(box_xml(3, 4, 9, 12))
    (source / "1.2.3.xml").write_text(box_xml(3, 4, 9, 12))
    (case,) = prepare(find_lung_pet_ct_dx(source), source, tmp_path / "out").content["cases"]
    corners = ct.volume.grid.to_world(np.array([[3, 4, 6], [9, 12, 6]]))
    (box,) = case["facts"]["boxes"]
    assert box["low_ras_mm"] == pytest.approx(corners.min(0), abs=0.01)
    assert box["high_ras_mm"] == pytest.approx(corners.max(0), abs=0.01)
    assert (box["class"], box["slice"], set(case["files"])) == ("A", 6, {"image"})


@pytest.mark.parametrize("text", [box_xml(9, 4, 3, 12), box_xml("", 4, 9, 12), "<other/>", "<annotation"])
def test_a_box_that_is_none_refuses_its_case(tmp_path, ct, text):
    source = tmp_path / "data"
    (source / f"{ct.source['uids'][6]}.xml").write_text(text)
    (refused,) = prepare(find_lung_pet_ct_dx(source), source, tmp_path / "out").content["refused"]
    assert refused["code"] == "E_XML"


@pytest.mark.real
def test_nsclc_radiomics_is_prepared_from_a_real_rtstruct(tmp_path, real_data):
    source = real_data / "ct" / "lung1-001"
    (case,) = prepare(find_nsclc_radiomics(source), source, tmp_path / "out").content["cases"]
    lungs = read_labels(tmp_path / "out" / case["files"]["label"]).array
    theirs = read_labels(source / "lungs.nii.gz").array  # 1 left, 2 right
    for ours, value in ((1, 2), (2, 1)):
        dice = 2 * ((lungs == ours) & (theirs == value)).sum() / ((lungs == ours).sum() + (theirs == value).sum())
        assert dice > 0.999
    assert case["facts"]["tumour_ml"] == pytest.approx(156.3, abs=0.1)


@pytest.mark.real
def test_boxes_on_a_real_series_lie_inside_it(tmp_path, real_data):
    series = real_data / "ct" / "lungdx-A0001" / "dicom" / "lung-kernel"
    source = tmp_path / "data"
    source.mkdir()
    for path in series.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    reading = open_ct(source)
    uid = dcmread(reading.files[30], stop_before_pixels=True).SOPInstanceUID
    (source / f"{uid}.xml").write_text(box_xml(100, 200, 140, 240))
    (case,) = prepare(find_lung_pet_ct_dx(source), source, tmp_path / "out").content["cases"]
    (box,) = case["facts"]["boxes"]
    size_mm = np.subtract(box["high_ras_mm"], box["low_ras_mm"])
    assert size_mm == pytest.approx([40 * reading.volume.spacing_mm[0], 40 * reading.volume.spacing_mm[1], 0], abs=0.02)
