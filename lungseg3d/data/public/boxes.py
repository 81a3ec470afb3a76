"""Box annotations in PASCAL VOC's XML -> boxes in pixels of one slice.

In: one file, as Lung-PET-CT-Dx has one for each annotated slice. Out: `SliceBox`es. Knows no CT.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungseg3d.core import LungSegError
from lungseg3d.data.public.xml_files import read_xml

_EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class SliceBox:
    """One box on one slice: first and last column and row, and the class.

    In Lung-PET-CT-Dx A is adenocarcinoma, B small cell, E large cell, G squamous cell carcinoma.
    """

    name: str
    low: tuple[float, float]
    high: tuple[float, float]


def read_box_xml(path: Path | str) -> list[SliceBox]:
    """The boxes of one file, in its order; none for a file without objects.

    Raises:
        LungSegError: E_XML when it is no such file, or a box has no numbers or no extent.
    """
    path = Path(path)
    root = read_xml(path)
    if root.tag != "annotation":
        raise _refusal(path, f"a <{root.tag}>")
    boxes = []
    for item in root.findall("object"):
        try:
            x0, y0, x1, y1 = (float(item.findtext(f"bndbox/{edge}") or "") for edge in _EDGES)
        except ValueError as error:
            raise _refusal(path, f"a box without four numbers ({error})") from error
        if not (x0 < x1 and y0 < y1):
            raise _refusal(path, f"a box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g})")
        boxes.append(SliceBox((item.findtext("name") or "").strip(), (x0, y0), (x1, y1)))
    return boxes


def _refusal(path: Path, found: str) -> LungSegError:
    return LungSegError(
        "E_XML", f"{path.name}: {found}; expected PASCAL VOC boxes.", "Download it again, or take it out."
    )
