"""Floor 2: CTs and label maps in, results out. The one reader, and the one way onto the disk.

In: DICOM series, NIfTI, NRRD, MetaImage. Out: `Volume`, `Reading`, `Inspection`; files written whole or not at all.
What every code means is in `lungseg3d.io.codes`.
"""

from lungseg3d.io.files import placing, write_text, writing
from lungseg3d.io.names import case_id_of
from lungseg3d.io.reader import inspect, open_ct, read_labels, read_volume
from lungseg3d.io.reading import Inspection, Reading, ReadOptions, SeriesInfo
from lungseg3d.io.writers import write_labels, write_volume

__all__ = [
    "Inspection",
    "ReadOptions",
    "Reading",
    "SeriesInfo",
    "case_id_of",
    "inspect",
    "open_ct",
    "placing",
    "read_labels",
    "read_volume",
    "write_labels",
    "write_text",
    "write_volume",
    "writing",
]
