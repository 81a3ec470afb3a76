"""LIDC-IDRI reading files -> what each of up to four readers marked.

In: one XML file (Armato et al. 2011, Med Phys 38:915). Out: `LidcReading`. Knows no CT: coordinates stay in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from xml.etree.ElementTree import Element

import numpy as np

from lungseg3d.core import LungSegError
from lungseg3d.data.public.xml_files import read_xml

RATINGS = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)
"""1 to 5 each, calcification 1 to 6, internalStructure 1 to 4; texture 1 = ground glass, 3 = part solid, 5 = solid."""
_REMEDY = "Download the file again, or take it out."


@dataclass(frozen=True, eq=False)
class LidcContour:
    """One outline on one slice.

    Attributes:
        points: (N, 2) column and row of pixels, from 0, at pixel centres: the first pixels OUTSIDE the nodule; for an
            exclusion the first pixels outside what is excluded.
        z_mm: position of the slice, the last of its ImagePositionPatient.
        instance_uid: SOPInstanceUID of the slice; "" where not said.
        inclusion: False for a part that does not belong to the nodule.
    """

    points: np.ndarray
    z_mm: float
    instance_uid: str
    inclusion: bool = True


@dataclass(frozen=True, eq=False)
class LidcMark:
    """One nodule as one reader marked it; one of less than 3 mm is a point without ratings.

    Attributes:
        reader: number of the reading session, from 0; sessions of different scans are different people.
        name: noduleID.
        contours: in the order of the file.
        ratings: name -> value; see `RATINGS`.
    """

    reader: int
    name: str
    contours: tuple[LidcContour, ...]
    ratings: Mapping[str, int]

    @property
    def is_small(self) -> bool:
        """Less than 3 mm: the reader gave one point instead of an outline."""
        return sum(len(contour.points) for contour in self.contours) <= 1


@dataclass(frozen=True, eq=False)
class LidcReading:
    """One file.

    Attributes:
        series_uid: of the CT; "" for the reading of a chest X-ray, which has no CT sessions.
        readers: number of CT reading sessions.
        marks: nodules, large and small.
        non_nodules: findings of 3 mm and more that the readers did not take for nodules: points.
    """

    series_uid: str
    readers: int
    marks: tuple[LidcMark, ...]
    non_nodules: tuple[LidcMark, ...]


def read_lidc_xml(path: Path | str) -> LidcReading:
    """Read one reading file; namespaces and additional elements do not matter.

    Raises:
        LungSegError: E_XML when it is no XML or no LIDC reading, or a number in it is none.
    """
    path = Path(path)
    root = read_xml(path)
    if root.tag not in ("LidcReadMessage", "IdriReadMessage"):
        raise LungSegError("E_XML", f"{path.name}: a {root.tag}; expected a LidcReadMessage.", _REMEDY)
    sessions = root.findall("readingSession")
    header = root.find("ResponseHeader")
    try:
        marks = tuple(
            LidcMark(reader, _text(node, "noduleID"), _contours(node, "roi", "edgeMap"), _ratings(node))
            for reader, session in enumerate(sessions)
            for node in session.findall("unblindedReadNodule")
        )
        others = tuple(
            LidcMark(reader, _text(node, "nonNoduleID"), _points_of(node), MappingProxyType({}))
            for reader, session in enumerate(sessions)
            for node in session.findall("nonNodule")
        )
    except (TypeError, ValueError) as error:
        raise LungSegError("E_XML", f"{path.name}: a coordinate or rating is no number ({error}).", _REMEDY) from error
    uid = "" if header is None else _text(header, "SeriesInstanceUid")
    return LidcReading(uid if sessions else "", len(sessions), marks, others)


def _contours(node: Element, slices: str, points: str) -> tuple[LidcContour, ...]:
    found = []
    for part in node.findall(slices):
        places = [(int(_text(p, "xCoord")), int(_text(p, "yCoord"))) for p in part.findall(points)]
        if places:
            inclusion = _text(part, "inclusion").upper() != "FALSE"
            found.append(LidcContour(np.array(places), _z_mm(part), _text(part, "imageSOP_UID"), inclusion))
    return tuple(found)


def _points_of(node: Element) -> tuple[LidcContour, ...]:
    places = [(int(_text(p, "xCoord")), int(_text(p, "yCoord"))) for p in node.findall("locus")]
    return (LidcContour(np.array(places), _z_mm(node), _text(node, "imageSOP_UID")),) if places else ()


def _z_mm(node: Element) -> float:
    return float(_text(node, "imageZposition") or "nan")


def _ratings(node: Element) -> Mapping[str, int]:
    given = node.find("characteristics")
    if given is None:
        return MappingProxyType({})
    return MappingProxyType({name: int(text) for name in RATINGS if (text := _text(given, name))})


def _text(node: Element, name: str) -> str:
    return (node.findtext(name) or "").strip()
