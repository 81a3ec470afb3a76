"""LIDC readings: outlines lie outside the nodule, readers are grouped and voted, and bad files are refused."""

import csv
import itertools
import tarfile

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from lungseg3d.core import LungSegError
from lungseg3d.data import ConsensusRule, draw_mark, find_lidc_nodules, group_marks, read_lidc_xml
from lungseg3d.data.public.lidc_xml import RATINGS, LidcContour, LidcMark
from lungseg3d.io import read_labels

SQUARE = [(c, 2) for c in range(2, 9)] + [(8, r) for r in range(3, 9)]
SQUARE += [(c, 8) for c in range(7, 1, -1)] + [(2, r) for r in range(7, 2, -1)]


def contour(points, k=0, inclusion=True):
    return LidcContour(np.array(points), float(k), "", inclusion)


def mark(reader, *contours, texture=5):
    return LidcMark(reader, f"n{reader}", contours, {"texture": texture})


def slice_of(part: LidcContour) -> int:
    return int(part.z_mm)


def moved(points, dx, dy=0):
    return [(c + dx, r + dy) for c, r in points]


def test_the_outline_of_a_7_pixel_square_holds_5_by_5_pixels():
    voxels = draw_mark(mark(0, contour(SQUARE, k=4)), slice_of, contour_pixels=False)
    assert {tuple(v) for v in voxels.tolist()} == {(c, r, 4) for c in range(3, 8) for r in range(3, 8)}


def test_with_its_own_pixels_it_holds_7_by_7():
    assert len(draw_mark(mark(0, contour(SQUARE)), slice_of, contour_pixels=True)) == 49


def test_an_exclusion_takes_out_what_its_outline_holds():
    hole = [(c + 4, r + 4) for c, r in ((0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
    parts = (contour(SQUARE), contour(hole, inclusion=False))
    assert len(draw_mark(mark(0, *parts), slice_of, contour_pixels=False)) == 25 - 1
    assert len(draw_mark(mark(0, *parts), slice_of, contour_pixels=True)) == 49 - 9


def test_a_contour_on_no_slice_is_left_out():
    assert len(draw_mark(mark(0, contour(SQUARE)), lambda part: None, contour_pixels=True)) == 0


def test_half_of_three_readers_is_two():
    marks = [mark(r, contour(moved(SQUARE, r))) for r in range(3)]
    (nodule,) = find_lidc_nodules(marks, slice_of, (1, 1, 1), ConsensusRule())
    columns = sorted({c for c, _, _ in nodule.voxels.tolist()})
    assert nodule.accepted
    assert columns == [4, 5, 6, 7, 8]  # inside are 3-7, 4-8, 5-9


@pytest.mark.parametrize(("min_readers", "accepted"), [(2, True), (3, False)])
def test_a_nodule_of_too_few_readers_is_kept_apart(min_readers, accepted):
    marks = [mark(r, contour(SQUARE)) for r in range(2)]
    (nodule,) = find_lidc_nodules(marks, slice_of, (1, 1, 1), ConsensusRule(min_readers))
    assert nodule.accepted is accepted
    assert len(nodule.touched) == 49


def test_ratings_are_kept_in_order_with_their_medians():
    marks = [mark(r, contour(SQUARE), texture=t) for r, t in enumerate((1, 3, 4, 5))]
    (nodule,) = find_lidc_nodules(marks, slice_of, (1, 1, 1), ConsensusRule())
    assert nodule.ratings()["texture"] == [1, 3, 4, 5]
    assert nodule.median_ratings() == {"texture": 3.5}


def test_a_point_is_a_small_nodule_and_no_group():
    assert find_lidc_nodules([mark(0, contour([(3, 3)]))], slice_of, (1, 1, 1), ConsensusRule()) == []


def test_far_nodules_are_two():
    marks = [mark(r, contour(moved(SQUARE, 40 * n))) for r in range(4) for n in range(2)]
    nodules = find_lidc_nodules(marks, slice_of, (1, 1, 2.5), ConsensusRule())
    assert [nodule.readers for nodule in nodules] == [4, 4]


def test_a_group_with_a_reader_twice_is_split_where_it_can_be():
    near = [np.array([[x, 0.0, 0.0]]) for x in (0.0, 0.2, 2.0, 2.2)]
    assert group_marks(near, [0, 1, 0, 1], tolerance_mm=2.5) == [[0, 1], [2, 3]]
    assert group_marks(near, [0, 1, 2, 3], tolerance_mm=2.5) == [[0, 1, 2, 3]]


def test_marks_that_touch_stay_together_though_a_reader_occurs_twice():
    halves = [np.array([[0.0, 0, 0]]), np.array([[1.0, 0, 0]]), np.array([[0.0, 0, 0], [1.0, 0, 0]])]
    assert group_marks(halves, [0, 0, 1], tolerance_mm=2.0) == [[0, 1, 2]]


def test_no_marks_are_no_groups():
    assert group_marks([], [], 1.0) == []


ROI = (
    "<roi><imageZposition>{z}</imageZposition><imageSOP_UID>1.2</imageSOP_UID><inclusion>{inclusion}</inclusion>"
    "<edgeMap><xCoord>{x}</xCoord><yCoord>5</yCoord></edgeMap><edgeMap><xCoord>9</xCoord><yCoord>6</yCoord></edgeMap></roi>"
)
NODULE = "<unblindedReadNodule><noduleID>7</noduleID>{ratings}{roi}</unblindedReadNodule>"
MESSAGE = (
    '<?xml version="1.0"?>{before}<LidcReadMessage {namespace}><ResponseHeader>'
    "<SeriesInstanceUid>1.9</SeriesInstanceUid></ResponseHeader><readingSession>{nodule}"
    "<nonNodule><nonNoduleID>n</nonNoduleID><imageZposition>3</imageZposition>"
    "<locus><xCoord>1</xCoord><yCoord>2</yCoord></locus></nonNodule></readingSession></LidcReadMessage>"
)


@pytest.fixture
def reading(tmp_path):
    """`reading(x=..., before=..., namespace=...)` -> what is read of a file with one nodule and one non-nodule."""

    def read(x="4", z="-20.5", inclusion="TRUE", before="", namespace='xmlns="http://www.nih.gov"'):
        ratings = "<characteristics>" + "".join(f"<{n}>3</{n}>" for n in RATINGS) + "</characteristics>"
        nodule = NODULE.format(ratings=ratings, roi=ROI.format(x=x, z=z, inclusion=inclusion))
        path = tmp_path / "a.xml"
        path.write_text(MESSAGE.format(before=before, namespace=namespace, nodule=nodule))
        return read_lidc_xml(path)

    return read


@pytest.mark.parametrize("namespace", ["", 'xmlns="http://www.nih.gov"', 'xmlns="http://www.nih.gov/idri"'])
def test_a_reading_is_read_whatever_its_namespace(reading, namespace):
    found = reading(namespace=namespace)
    (nodule,) = found.marks
    assert (found.series_uid, found.readers, nodule.name, nodule.is_small) == ("1.9", 1, "7", False)
    assert nodule.contours[0].points.tolist() == [[4, 5], [9, 6]]
    assert (nodule.contours[0].z_mm, nodule.contours[0].instance_uid) == (-20.5, "1.2")
    assert set(nodule.ratings) == set(RATINGS)
    assert found.non_nodules[0].contours[0].points.tolist() == [[1, 2]]


def test_an_exclusion_is_known_as_one(reading):
    assert reading(inclusion="FALSE").marks[0].contours[0].inclusion is False


@pytest.mark.parametrize(
    "before",
    ['<!DOCTYPE x [<!ENTITY a "aaaa">]>', '<!DOCTYPE x SYSTEM "file:///etc/passwd">', "<!DOCTYPE x>"],
)
def test_a_document_type_is_refused_before_its_entities_are_looked_at(reading, before):
    with pytest.raises(LungSegError, match="document type"):
        reading(before=before)


@pytest.mark.parametrize("x", ["", "four", "1e3", "nan"])
def test_a_coordinate_that_is_no_number_is_refused(reading, x):
    with pytest.raises(LungSegError, match="E_XML"):
        reading(x=x)


@pytest.mark.parametrize("text", ["", "no xml", "<a>", "<a/>", "<a>" * 100 + "</a>" * 100, "<a>\0</a>"])
def test_what_is_no_reading_is_refused(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(LungSegError, match="E_XML"):
        read_lidc_xml(tmp_path / "a.xml")


@pytest.fixture(scope="module")
def real_readings(tmp_path_factory, real_data):
    """Name of the reading file -> reading."""
    folder = tmp_path_factory.mktemp("readings")
    with tarfile.open(real_data / "lidc_xml.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return {path.stem: read_lidc_xml(path) for path in sorted(folder.rglob("*.xml"))}


@pytest.mark.real
def test_138_real_readings_hold_what_they_hold(real_readings):
    """Counted beforehand with a parser of its own: readings with four readers, nodules with and without contours."""
    marks = [mark for reading in real_readings.values() for mark in reading.marks]
    assert len(real_readings) == 138
    assert sum(reading.readers == 4 for reading in real_readings.values()) == 102  # the others are chest X-rays
    assert sum(not mark.is_small for mark in marks) == 750
    assert sum(mark.is_small for mark in marks) == 1301
    assert sum(len(reading.non_nodules) for reading in real_readings.values()) == 2118
    assert all(set(mark.ratings) == set(RATINGS) for mark in marks if not mark.is_small)
    assert not any(mark.ratings for mark in marks if mark.is_small)


@pytest.mark.real
def test_real_readers_agree_as_well_as_is_known(real_readings):
    """Of all LIDC nodules 35 % were outlined by all four (Armato et al. 2011); two readers' 3D Dice is about 0.76."""
    counts, dice = [], {False: [], True: []}
    for reading in real_readings.values():
        z_mm = np.unique([c.z_mm for m in (*reading.marks, *reading.non_nodules) for c in m.contours])
        steps = np.diff(z_mm)
        if not (steps > 0.3).any():
            continue
        step_mm, low_mm = float(steps[steps > 0.3].min()), z_mm[0]

        def on_slice(part, step_mm=step_mm, low_mm=low_mm):
            return round((part.z_mm - low_mm) / step_mm)

        for nodule in find_lidc_nodules(reading.marks, on_slice, (0.7, 0.7, step_mm), ConsensusRule()):
            counts.append(nodule.readers)
            assert not nodule.accepted or len(nodule.voxels)
            for contour_pixels, found in dice.items() if nodule.accepted else ():
                found += pairwise_dice(nodule, on_slice, contour_pixels)
    assert (len(counts), counts.count(4), counts.count(3)) == (290, 95, 56)
    assert counts.count(4) / len(counts) == pytest.approx(0.35, abs=0.03)
    assert np.mean(dice[False]) == pytest.approx(0.759, abs=0.002)
    assert np.mean(dice[True]) == pytest.approx(0.785, abs=0.002)


READ_IN = {
    "nodule-00492": ("187_098", 1.8),
    "nodule-00624": ("187_213", 0.625),
    "nodule-00626": ("187_214", 1.25),
    "nodule-00803": ("189_169", 2.0),
    "nodule-00928": ("189_035", 1.0),
    "nodule-00933": ("189_035", 1.0),
    "nodule-01062": ("188_226", 1.25),
}
"""Nodules of `nodules_luna`, the reading file that describes them, and the slice distance of their CT in mm."""


@pytest.mark.real
@pytest.mark.parametrize("name", READ_IN)
def test_the_outlines_of_a_real_reading_are_the_masks_that_others_drew_from_them(real_readings, real_data, name):
    """Their masks leave the outline's own pixels out; bit k of `readers` is the reader of session k."""
    file, step_mm = READ_IN[name]
    nodules_luna = real_data / "nodules_luna"
    (row,) = (row for row in rows_of(nodules_luna) if row["id"] == name)
    theirs = read_labels(nodules_luna / "readers" / f"{name}.nii.gz").array
    nodule = nodule_rated_as(row, real_readings[file], step_mm)
    assert nodule.readers == int(row["n_readers"])
    spacing_mm = (float(row["pixel_spacing_mm"]),) * 2 + (step_mm,)
    for mark in nodule.marks:
        mask = (theirs >> mark.reader & 1) > 0
        without, with_pixels = (draw_mark(mark, on_slices_of(step_mm), inside) for inside in (False, True))
        assert centred_dice(without, spacing_mm, mask) > 0.945
        assert centred_dice(without, spacing_mm, mask) > centred_dice(with_pixels, spacing_mm, mask) + 0.03


def on_slices_of(step_mm):
    return lambda part: round(part.z_mm / step_mm)


def nodule_rated_as(row, reading, step_mm):
    """The nodule of a reading whose mean ratings are those of a row of `nodules.csv`."""
    nodules = find_lidc_nodules(reading.marks, on_slices_of(step_mm), (0.7, 0.7, step_mm), ConsensusRule())
    asked = {key: float(row[key]) for key in RATINGS if key in row}
    (found,) = (
        nodule
        for nodule in nodules
        if nodule.readers == int(row["n_readers"])
        and all(abs(np.mean([m.ratings[key] for m in nodule.marks]) - asked[key]) < 0.006 for key in asked)
    )
    return found


@pytest.mark.real
def test_the_labels_of_the_cubes_are_the_votes_of_two_readers(real_data):
    nodules_luna = real_data / "nodules_luna"
    rows = rows_of(nodules_luna)[::10]
    assert len(rows) == 93
    for row in rows:
        readers, label = (
            read_labels(nodules_luna / kind / f"{row['id']}.nii.gz").array for kind in ("readers", "labels")
        )
        assert np.array_equal(sum((readers >> k) & 1 for k in range(4)) >= 2, label > 0)
        assert label.sum() == int(row["volume_mm3"])


def rows_of(folder):
    with (folder / "nodules.csv").open() as stream:
        return list(csv.DictReader(stream))


def centred_dice(voxels, spacing_mm, mask) -> float:
    """Voxels drawn on a grid of 1 mm, their centre of mass on that of the mask."""
    low = voxels.min(axis=0) - 2
    drawn = np.zeros(voxels.max(axis=0) - low + 3)
    drawn[tuple((voxels - low).T)] = 1
    places = (np.indices(mask.shape).reshape(3, -1).T - np.argwhere(mask).mean(axis=0)) / spacing_mm
    ours = map_coordinates(drawn, (places + (voxels - low).mean(axis=0)).T, order=1).reshape(mask.shape) > 0.5
    return 2 * (ours & mask).sum() / (ours.sum() + mask.sum())


def pairwise_dice(nodule, on_slice, contour_pixels):
    readers: dict[int, set] = {}
    for one in nodule.marks:
        readers.setdefault(one.reader, set()).update(map(tuple, draw_mark(one, on_slice, contour_pixels).tolist()))
    pairs = itertools.combinations(readers.values(), 2)
    return [2 * len(a & b) / (len(a) + len(b)) for a, b in pairs if a or b]
