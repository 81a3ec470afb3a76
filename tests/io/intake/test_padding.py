"""What fills a CT outside of its reconstruction circle, after a lossy codec, an interpolation or a filter: it is air.

A wrong rescale, which spreads low values too, is refused all the same.
"""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from lungseg3d.core import IntakeError, Volume
from lungseg3d.io import ReadOptions, open_ct, write_volume
from lungseg3d.io.intake.hounsfield import finish_hounsfield
from lungseg3d.io.intake.reading import Findings

_RADIUS = 47
_J, _I = np.meshgrid(np.arange(96) - 47.5, np.arange(96) - 47.5, indexing="ij")
OUTSIDE = _J**2 + _I**2 > _RADIUS**2
BODY = (_J / 42) ** 2 + (_I / 30) ** 2 <= 1
LUNGS = ((np.abs(_J) - 20) / 14) ** 2 + (_I / 20) ** 2 <= 1


def chest(padding_hu: float | None = None) -> np.ndarray:
    """(96, 96, 12) HU, float: air, a body of 40, two lungs, noise of 12; outside of the circle what is asked for."""
    plane = np.where(LUNGS, -850.0, np.where(BODY, 40.0, -1000.0))
    hu = np.repeat(plane[:, :, None], 12, axis=2) + np.random.default_rng(3).normal(0, 12, (96, 96, 12))
    if padding_hu is not None:
        hu[OUTSIDE] = padding_hu
    return hu


def lossy(hu: np.ndarray) -> np.ndarray:
    """As after a lossy codec: an error of some HU everywhere, more along edges."""
    rng = np.random.default_rng(5)
    return hu + rng.normal(0, 8, hu.shape) + rng.uniform(-0.2, 0.2, hu.shape) * ndimage.sobel(hu, axis=0) / 8


def blurred(hu: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(hu, (1.5, 1.5, 0.5))


def resampled(hu: np.ndarray) -> np.ndarray:
    """By cubic splines, which swing beyond the values on both sides of an edge."""
    return ndimage.zoom(hu, (0.8, 0.8, 1), order=3)


def turned(hu: np.ndarray) -> np.ndarray:
    return ndimage.rotate(hu, 9, axes=(0, 1), order=1, mode="constant", cval=hu[0, 0, 0])


def finished(hu: np.ndarray, declared: bool) -> np.ndarray:
    array = np.asfortranarray(np.rint(hu).clip(-32767, 32767).astype(np.int16))
    finish_hounsfield(array, "ct", Findings(), ReadOptions(), declared=declared)
    return array


@pytest.mark.parametrize("declared", [True, False], ids=["DICOM", "image file"])
@pytest.mark.parametrize("spread", [lossy, blurred, resampled, turned])
@pytest.mark.parametrize("padding_hu", [-1500, -2000, -2048, -3024, -8192])
def test_padding_that_is_no_longer_one_value_is_air(padding_hu, spread, declared):
    before = spread(chest(padding_hu))
    found = finished(before, declared)
    assert (found[[0, 0, -1, -1], [0, -1, 0, -1]] == -1000).all()
    kept = before > -1200
    assert np.array_equal(found[kept], np.rint(before[kept]))


def test_padding_of_exactly_1500_below_is_air_too():
    assert (finished(chest(-1500), declared=True)[OUTSIDE] == -1000).all()


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
def test_an_export_of_such_a_series_is_read_without_a_word(tmp_path, ending):
    volume = Volume(np.rint(lossy(chest(-2000))).astype(np.int16), np.diag([3.0, 3.0, 2.5, 1.0]))
    path = tmp_path / f"ct.{ending}"
    if ending == "nii.gz":
        write_volume(path, volume)
    else:
        image = SimpleITK.GetImageFromArray(volume.array.T)
        image.SetSpacing([3.0, 3.0, 2.5])
        SimpleITK.WriteImage(image, str(path))
    reading = open_ct(path)
    assert reading.issues == ()
    assert (reading.volume.array[[0, -1], [0, 0]] == -1000).all()


WRONG = {
    "intercept twice": lambda hu: hu - 1024,
    "intercept three times": lambda hu: hu - 2048,
    "twice the slope": lambda hu: 2 * hu,
    "one and a half of the slope": lambda hu: 1.5 * hu,
    "three times the slope": lambda hu: 3 * hu,
    "twice the slope and the intercept": lambda hu: 2 * hu - 1024,
    "ten times the slope": lambda hu: 10 * hu,
}


@pytest.mark.parametrize("declared", [True, False], ids=["DICOM", "image file"])
@pytest.mark.parametrize("with_padding", [False, True], ids=["", "padded"])
@pytest.mark.parametrize("rescale", WRONG)
def test_a_wrong_rescale_is_refused_with_or_without_padding(rescale, with_padding, declared):
    hu = WRONG[rescale](chest())
    if with_padding:
        hu[OUTSIDE] = np.random.default_rng(7).normal(-2000, 6, hu[OUTSIDE].shape)
    with pytest.raises(IntakeError) as caught:
        finished(hu, declared)
    assert caught.value.code == "E_NOT_HOUNSFIELD"


def test_a_lung_that_holds_values_too_low_for_air_is_no_padding():
    hu = chest(-2000)
    hu[LUNGS] = np.random.default_rng(9).normal(-1700, 40, hu[LUNGS].shape)
    with pytest.raises(IntakeError):
        finished(lossy(hu), declared=True)
