"""The readers that people use, each brought to one form: a path -> candidate volumes, or an exception.

In: a path as a user would give it. Out: `PEERS`; every reader is used by its own documented call with its defaults, and
imports its package only when it runs. Knows no verdict.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.core import Volume

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class NotAVolumeError(Exception):
    """The reader gives something that its caller sees to be no 3D volume of numbers."""


@dataclass(frozen=True)
class Peer:
    """One reader.

    Attributes:
        name: column of the table.
        package: what must be installed, for the message when it is not; also names the version.
        formats: of `dicom`, `nifti`, `other` (NRRD, MetaImage).
        read: path -> volumes in RAS; several where a converter writes several.
    """

    name: str
    package: str
    formats: frozenset[str]
    read: Callable[[Path], list[Volume]]


def format_of(path: Path) -> str:
    """`dicom`, `nifti`, `other` or `zip`, by the name: that is how a user chooses a reader."""
    if path.suffix in (".nrrd", ".mha", ".mhd"):
        return "other"
    if path.suffix == ".zip":
        return "zip"
    return "nifti" if ".nii" in path.name else "dicom"


def _volume(array: Any, affine: Any) -> Volume:
    array = np.asarray(array)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.dtype.kind not in "iuf":
        raise NotAVolumeError(f"{array.dtype} of shape {array.shape}")
    return Volume(array, np.asarray(affine, float))


def _of_sitk(image: Any) -> Volume:
    if image.GetNumberOfComponentsPerPixel() != 1 or image.GetDimension() not in (3, 4):
        raise NotAVolumeError(f"{image.GetDimension()}D, {image.GetPixelIDTypeAsString()}")
    import SimpleITK

    n = image.GetDimension()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(n, n)[:3, :3] * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return _volume(SimpleITK.GetArrayFromImage(image).T, _TO_RAS @ affine)


def _lungseg3d(path: Path) -> list[Volume]:
    import warnings

    from lungseg3d.io import open_ct

    reading = open_ct(path)
    for issue in reading.issues:
        warnings.warn(f"{issue.code}: {issue.message}", stacklevel=2)
    return [reading.volume]


def _simpleitk(path: Path) -> list[Volume]:
    import SimpleITK

    if not path.is_dir():
        return [_of_sitk(SimpleITK.ReadImage(str(path)))]
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
    return [_of_sitk(reader.Execute())]


def _monai(reader_name: str) -> Callable[[Path], list[Volume]]:
    def read(path: Path) -> list[Volume]:
        import monai.data
        from monai.transforms import LoadImage

        # Named in the call: a reader named in the constructor falls back to others without a word.
        image = LoadImage(image_only=True)(path, reader=getattr(monai.data, reader_name)())
        return [_volume(image.numpy(), image.affine.numpy())]

    return read


def _highdicom(path: Path) -> list[Volume]:
    import highdicom
    import pydicom

    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    datasets = []
    for file in files:
        with contextlib.suppress(pydicom.errors.InvalidDicomError):
            datasets.append(pydicom.dcmread(file))
    if path.is_file():
        volume = highdicom.imread(path).get_volume()
    else:
        # It takes one series; which one is left to its caller, so it gets the largest.
        (uid, _), *_ = Counter(d.get("SeriesInstanceUID") for d in datasets).most_common(1)
        volume = highdicom.get_volume_from_series([d for d in datasets if d.get("SeriesInstanceUID") == uid])
    # Its volumes are (slice, row, column), in LPS.
    return [_volume(volume.array, _TO_RAS @ volume.affine)]


def _dicom2nifti(path: Path) -> list[Volume]:
    import dicom2nifti

    with tempfile.TemporaryDirectory() as out:
        file = Path(out, "ct.nii.gz")
        dicom2nifti.dicom_series_to_nifti(path if path.is_dir() else path.parent, file)
        return [_of_nifti(file)]


def _of_nifti(file: Path) -> Volume:
    import nibabel

    image = nibabel.load(file)
    return _volume(np.asanyarray(image.dataobj), image.affine)


def _lungmask(path: Path) -> list[Volume]:
    from lungmask.utils import load_input_image

    return [_of_sitk(load_input_image(str(path), disable_tqdm=True))]


def _dcm2niix(path: Path) -> list[Volume]:
    import warnings

    with tempfile.TemporaryDirectory() as out:
        command = ["dcm2niix", "-z", "n", "-f", "%s_%p", "-o", out, str(path if path.is_dir() else path.parent)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode < 0:
            raise ChildProcessError(f"dcm2niix died of signal {-done.returncode}")
        said = [line for line in (done.stdout + done.stderr).splitlines() if "warning" in line.lower()]
        if done.returncode:
            said += done.stderr.splitlines() or [f"exit code {done.returncode}"]
        files = sorted(Path(out).glob("*.nii"))
        if not files:
            raise ValueError(" ".join((said or done.stdout.splitlines())[-1:]) or "nothing was written")
        for line in said:
            warnings.warn(line, stacklevel=2)
        volumes = []
        for file in files:
            with contextlib.suppress(NotAVolumeError):
                volumes.append(_of_nifti(file))
        if not volumes:
            raise NotAVolumeError(f"{len(files)} files, none 3D")
        return volumes


_DICOM, _NIFTI, _ALL = frozenset({"dicom"}), frozenset({"nifti"}), frozenset({"dicom", "nifti", "other"})

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("lungseg3d", "lungseg3d", _ALL | {"zip"}, _lungseg3d),
        Peer("SimpleITK", "SimpleITK", _ALL, _simpleitk),
        Peer("MONAI ITKReader", "itk", _ALL, _monai("ITKReader")),
        Peer("MONAI PydicomReader", "monai", _DICOM, _monai("PydicomReader")),
        Peer("MONAI NibabelReader", "nibabel", _NIFTI, _monai("NibabelReader")),
        Peer("highdicom", "highdicom", _DICOM, _highdicom),
        Peer("dicom2nifti", "dicom2nifti", _DICOM, _dicom2nifti),
        Peer("lungmask", "lungmask", _ALL, _lungmask),
        Peer("dcm2niix", "dcm2niix", _DICOM, _dcm2niix),
    )
}
