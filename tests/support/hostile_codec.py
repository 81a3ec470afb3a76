"""A codec that does what its input tells it: crash, hang, take memory. It stands where JPEG 2000 is decoded.

In: a folder, a DICOM series. Out: a `sitecustomize` for the decoder's own process; the series compressed, the last
bytes of one slice telling the codec what to do. No hook in the product: the process that decodes finds the module on
its PYTHONPATH as any other would.
"""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

CODEC = """
import ctypes, os, sys
import imagecodecs

real = imagecodecs.jpeg2k_decode

def planted(data, **more):
    if b"HOSTILE-CRASH" in data[-64:]:
        ctypes.string_at(0)
    if b"HOSTILE-HANG" in data[-64:]:
        ctypes.PyDLL(None).sleep(600)  # with the interpreter held: no Python runs in this process any more
    if b"HOSTILE-ABORT" in data[-64:]:
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'")
        os.abort()
    if b"HOSTILE-MEMORY" in data[-64:]:
        kept = []
        while True:
            kept.append(bytearray(2**26))
    return real(data, **more)

imagecodecs.jpeg2k_decode = planted
"""


def plant_codec(folder: Path) -> str:
    """Write the module; returns what PYTHONPATH must begin with."""
    (folder / "sitecustomize.py").write_text(CODEC)
    return str(folder)


def compress(series: Path, trap: str = "") -> None:
    """Every slice of a series as JPEG 2000, in place; the middle one with a trap: CRASH, HANG, ABORT or MEMORY."""
    paths = sorted(series.rglob("*.dcm"))
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        frame = imagecodecs.jpeg2k_encode(dataset.pixel_array, level=0, reversible=True, codecformat="j2k")
        if trap and number == len(paths) // 2:
            frame += f"HOSTILE-{trap}".encode()
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.save_as(path)
