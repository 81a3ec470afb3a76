"""RTSTRUCT files: contours in patient coordinates land on the CT's own grid, or are refused."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lungseg3d.core import Grid, IntakeError
from lungseg3d.io import check_reference, draw_structures, open_ct, read_labels, read_structures

FRAME, SERIES = "1.2.3.4", "1.2.3.5"
GRID = Grid((20, 16, 6), np.array([[-2.0, 0, 0, 30], [0, -2, 0, 12], [0, 0, 3, -40], [0, 0, 0, 1]]))


def square(grid: Grid, low: float, high: float, slice_index: float) -> list[float]:
    """Contour data of a square in voxels, in LPS mm as the file has it."""
    corners = [[low, low], [high, low], [high, high], [low, high]]
    world = grid.to_world(np.array([[x, y, slice_index] for x, y in corners])) * [-1, -1, 1]
    return [round(float(v), 4) for v in world.ravel()]


@pytest.fixture
def write_structures(tmp_path):
    """`write_structures({name: [contour data]}, kind=...)` -> path of an RTSTRUCT."""

    def write(structures: dict[str, list[list[float]]], kind="CLOSED_PLANAR", modality="RTSTRUCT"):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.Modality, dataset.PatientID = modality, "P1"
        series, study, frame = Dataset(), Dataset(), Dataset()
        series.SeriesInstanceUID, frame.FrameOfReferenceUID = SERIES, FRAME
        study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [series], [study]
        dataset.ReferencedFrameOfReferenceSequence = [frame]
        dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
        for number, (name, contours) in enumerate(structures.items(), 1):
            definition, drawing = Dataset(), Dataset()
            definition.ROINumber = drawing.ReferencedROINumber = number
            definition.ROIName, definition.ReferencedFrameOfReferenceUID = name, FRAME
            drawing.ContourSequence = []
            for data in contours:
                item = Dataset()
                item.ContourGeometricType, item.ContourData = kind, data
                item.NumberOfContourPoints = len(data) // 3
                drawing.ContourSequence.append(item)
            dataset.StructureSetROISequence.append(definition)
            dataset.ROIContourSequence.append(drawing)
        dataset.save_as(tmp_path / "rt.dcm", enforce_file_format=True)
        return tmp_path / "rt.dcm"

    return write


def drawn(path, pattern=".*", grid=GRID):
    return draw_structures(read_structures(path).find(pattern), grid, "case")


def test_a_square_lands_on_its_voxels(write_structures):
    found = drawn(write_structures({"GTV-1": [square(GRID, 3.5, 7.5, 2)]}))
    assert np.argwhere(found.mask).min(0).tolist() == [4, 4, 2]
    assert np.argwhere(found.mask).max(0).tolist() == [7, 7, 2]
    assert (found.mask.sum(), found.slices, found.empty_between, found.outside) == (16, 1, 0, 0)


def test_the_mask_follows_the_grid_when_its_axes_are_turned(write_structures):
    path = write_structures({"GTV-1": [square(GRID, 3.5, 7.5, 2)]})
    turn = np.array([[0, 0, -1.0, 19], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # axes (Y, Z, -X)
    turned = drawn(path, grid=Grid((16, 6, 20), GRID.affine @ turn)).mask
    assert np.array_equal(turned, drawn(path).mask.transpose(1, 2, 0)[:, :, ::-1])


def test_a_contour_belongs_to_the_nearest_slice_within_half_a_slice(write_structures):
    found = drawn(write_structures({"a": [square(GRID, 3.5, 7.5, 2.4)]}))
    assert np.flatnonzero(found.mask.any((0, 1))).tolist() == [2]


def test_inner_contours_are_holes_but_structures_are_united(write_structures):
    ring = [square(GRID, 2.5, 10.5, 1), square(GRID, 4.5, 6.5, 1)]
    assert drawn(write_structures({"a": ring})).mask.sum() == 64 - 4
    assert drawn(write_structures({"a": ring, "b": [square(GRID, 4.5, 6.5, 1)]})).mask.sum() == 64


def test_a_contour_that_was_exported_twice_does_not_erase_itself(write_structures):
    assert drawn(write_structures({"a": [square(GRID, 2.5, 6.5, 1)] * 2})).mask.sum() == 16


def test_undrawn_and_outer_slices_are_counted(write_structures):
    found = drawn(write_structures({"a": [square(GRID, 3.5, 7.5, k) for k in (0, 3, 9)]}))
    assert (found.slices, found.empty_between, found.outside) == (2, 2, 1)


def test_points_and_open_lines_enclose_nothing(write_structures):
    path = write_structures({"a": [square(GRID, 3.5, 7.5, 1)]}, kind="OPEN_PLANAR")
    assert read_structures(path).skipped == 1
    assert read_structures(path).find(".*") == ()


def test_names_match_whole_and_in_either_case(write_structures):
    data = [square(GRID, 3.5, 7.5, 1)]
    structures = read_structures(write_structures({"LUNG-Left ": data, "Lung-Left-old": data}))
    assert [s.name.strip() for s in structures.find("lung-left")] == ["LUNG-Left"]


@pytest.mark.parametrize(
    ("contour", "code"),
    [([1.0, 2.0], "E_BAD_CONTOUR"), (square(GRID, 3.5, 7.5, 40), "E_OTHER_REFERENCE")],
    ids=["not triples", "far from the CT"],
)
def test_contours_that_cannot_be_drawn_are_refused(write_structures, contour, code):
    with pytest.raises(IntakeError) as caught:
        drawn(write_structures({"a": [contour]}))
    assert caught.value.code == code
    assert caught.value.remedy


def test_a_contour_through_several_slices_is_refused(write_structures):
    data = np.array(square(GRID, 3.5, 7.5, 1)).reshape(-1, 3)
    flat = square(GRID, 3.5, 7.5, 2)
    data[:2, 2] += 4.0
    with pytest.raises(IntakeError, match="E_BAD_CONTOUR"):
        drawn(write_structures({"a": [flat, data.ravel().tolist()]}))


def test_another_file_is_refused(write_structures, tmp_path):
    with pytest.raises(IntakeError, match="modality CT, expected RTSTRUCT"):
        read_structures(write_structures({"a": []}, modality="CT"))
    (tmp_path / "x.dcm").write_bytes(b"no DICOM")
    with pytest.raises(IntakeError, match="E_NOT_RTSTRUCT"):
        read_structures(tmp_path / "x.dcm")


@pytest.mark.parametrize(
    ("series", "frame", "fits"),
    [(SERIES, FRAME, True), ("", "", True), ("9.9", FRAME, True), (SERIES, "9.9", False), ("9.9", "9.9", False)],
)
def test_structures_of_another_ct_are_refused(write_structures, series, frame, fits):
    structures = read_structures(write_structures({"a": [square(GRID, 3.5, 7.5, 1)]}))
    if fits:
        check_reference(structures, series, frame, "case")
    else:
        with pytest.raises(IntakeError, match="E_OTHER_REFERENCE"):
            check_reference(structures, series, frame, "case")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.real
@pytest.mark.parametrize(
    ("case", "pattern", "file", "value"),
    [
        ("lung1-001", "GTV-1", "tumour", 1),
        ("lung1-001", "Lung-Left", "lungs", 1),
        ("lung1-001", "Lung-Right", "lungs", 2),
        ("4dlung-113", "Tumor_c40", "tumour", 1),
    ],
)
def test_real_contours_give_the_masks_that_others_drew_from_them(real_data, case, pattern, file, value):
    (path,) = (real_data / "ct" / case / "rtstruct").iterdir()
    reference = read_labels(real_data / "ct" / case / f"{file}.nii.gz")
    found = drawn(path, pattern, reference.grid)
    assert dice(found.mask, reference.array == value) > 0.999
    assert (found.empty_between, found.outside) == (0, 0)


@pytest.mark.real
def test_real_contours_refer_to_the_ct_beside_them_and_land_on_its_grid(real_data):
    folder = real_data / "ct" / "4dlung-113"
    (path,) = (folder / "rtstruct").iterdir()
    structures, reading = read_structures(path), open_ct(folder / "dicom")
    header = dcmread(reading.files[0], stop_before_pixels=True)
    check_reference(structures, header.SeriesInstanceUID, header.FrameOfReferenceUID, "4dlung-113")
    reference = read_labels(folder / "tumour.nii.gz")
    assert reading.volume.grid.matches(reference.grid, tolerance_mm=0.1)
    drawn_here = draw_structures(structures.find("Tumor_c40"), reading.volume.grid, "4dlung-113")
    assert dice(drawn_here.mask, reference.array == 1) > 0.999
