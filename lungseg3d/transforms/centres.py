"""Where training patches may be centred: in the lungs, on what is labelled, on what could be taken for it.

In: a CT, label maps, on one grid. Out: masks of places, for a sampler's groups. Knows no network.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy import ndimage

from lungseg3d.core import Box, Volume
from lungseg3d.tensors import to_meta_tensor, to_volume


class LungCentresd(MapTransform):
    """Where patches may be centred: inside the lungs under `keys`, away from what the manifest says to ignore.

    Args:
        keys: lung label map (1, X, Y, Z).
        output_key: mask (1, X, Y, Z) uint8 of allowed centres.
        ignore_key: mask of a region to stay away from; cases without it have none.
        distance_mm: how far.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_key: str = "centres",
        ignore_key: str = "ignore",
        distance_mm: float = 30.0,
    ) -> None:
        super().__init__(keys)
        self.output_key, self.ignore_key, self.distance_mm = output_key, ignore_key, distance_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            lungs = to_volume(d[key])
            allowed = lungs.array > 0
            if self.ignore_key in d:
                allowed &= ~self._near(to_volume(d[self.ignore_key]))
            d[self.output_key] = to_meta_tensor(lungs.with_array(allowed.astype(np.uint8)))
        return d

    def _near(self, ignore: Volume) -> np.ndarray:
        away_mm = ndimage.distance_transform_edt(ignore.array == 0, sampling=ignore.spacing_mm)
        return away_mm <= self.distance_mm if ignore.array.any() else np.zeros(ignore.shape, dtype=bool)


class LabelCentresd(MapTransform):
    """Where patches are centred that show each labelled thing in their middle: one voxel of each, at its centre.

    Args:
        keys: label map (1, X, Y, Z); connected pieces are one thing each.
        output_key: mask (1, X, Y, Z) uint8 of the centres.
    """

    def __init__(self, keys: KeysCollection, output_key: str = "centres") -> None:
        super().__init__(keys)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            volume = to_volume(d[key])
            centres = np.zeros(volume.shape, np.uint8)
            pieces, count = ndimage.label(volume.array > 0, structure=np.ones((3, 3, 3)))
            for centre in ndimage.center_of_mass(volume.array > 0, pieces, range(1, count + 1)):
                centres[tuple(np.rint(centre).astype(int))] = 1
            d[self.output_key] = to_meta_tensor(volume.with_array(centres))
        return d


@dataclass(frozen=True)
class DensePeaks:
    """Which peaks of the HU could be taken for a nodule.

    Attributes:
        away_voxels: least distance from what is labelled.
        edge_voxels: least distance from the faces of the image, so that a patch around the place shows something.
        least_hu: peaks of the smoothed HU below it are none.
        smoothed_voxels: SDs of the Gaussians; small and large things have their peaks at different ones.
    """

    away_voxels: float = 6.0
    edge_voxels: int = 6
    least_hu: float = -650.0
    smoothed_voxels: Sequence[float] = (1.5, 3.0)


class DenseCentresd(MapTransform):
    """Where something dense could be taken for a nodule: the peaks of the smoothed HU, away from what is labelled.

    Cross-sections and forks of vessels, hilum, ribs and diaphragm that indent the lung, fissures, opacities.

    Args:
        keys: a CT (1, X, Y, Z) in HU.
        output_key: mask (1, X, Y, Z) uint8 of the places.
        label_key: what is labelled in it, such as nodules; None where nothing is.
        lungs_key: lung label map, and only the lungs and 3 voxels around are searched; None searches all.
        allowed_key: mask of the only places that count, 3 voxels around it too; None allows all.
        **peaks: fields of `DensePeaks`.
    """

    keyword_groups = (DensePeaks,)

    def __init__(
        self,
        keys: KeysCollection,
        output_key: str = "tempting",
        label_key: str | None = "label",
        lungs_key: str | None = None,
        allowed_key: str | None = None,
        **peaks: Any,
    ) -> None:
        super().__init__(keys)
        self.output_key, self.label_key = output_key, label_key
        self.within = [key for key in (lungs_key, allowed_key) if key is not None]
        self.peaks = DensePeaks(**peaks)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            ct = to_volume(d[key])
            allowed = np.zeros(ct.shape, bool)
            e = self.peaks.edge_voxels
            allowed[e : ct.shape[0] - e, e : ct.shape[1] - e, e : ct.shape[2] - e] = True
            for within in self.within:
                allowed &= ndimage.binary_dilation(to_volume(d[within]).array > 0, iterations=3)
            if self.label_key is not None and (labelled := to_volume(d[self.label_key]).array > 0).any():
                allowed &= ndimage.distance_transform_edt(~labelled) >= self.peaks.away_voxels
            peaks = np.zeros(ct.shape, bool)
            for sigma in self.peaks.smoothed_voxels:
                smooth = ndimage.gaussian_filter(np.clip(ct.array, -1000, 100).astype(np.float32), sigma)
                highest = ndimage.maximum_filter(smooth, size=2 * round(sigma) + 1)
                peaks |= (smooth == highest) & (smooth > self.peaks.least_hu)
            d[self.output_key] = to_meta_tensor(ct.with_array((peaks & allowed).astype(np.uint8)))
        return d


class AirOutsideLungsd(MapTransform):
    """Where a lung network is tempted: air that is not lung - trachea, gut, air beside the chest.

    Args:
        keys: a CT (1, X, Y, Z) in HU.
        lungs_key: lung label map on the same grid; only the box around the lungs and above them is searched.
        output_key: mask (1, X, Y, Z) uint8, for patches to be centred on.
        air_hu: voxels below are air.
    """

    def __init__(
        self, keys: KeysCollection, lungs_key: str = "label", output_key: str = "centres", air_hu: float = -700.0
    ) -> None:
        super().__init__(keys)
        self.lungs_key, self.output_key, self.air_hu = lungs_key, output_key, air_hu

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            ct, lungs = to_volume(d[key]), to_volume(d[self.lungs_key])
            tempting = np.zeros(ct.shape, dtype=np.uint8)
            if (box := Box.around(lungs.array > 0)) is not None:
                x, y, z = box.slices
                above = (x, y, slice(z.start, ct.shape[2]))
                tempting[above] = (ct.array[above] < self.air_hu) & (lungs.array[above] == 0)
            d[self.output_key] = to_meta_tensor(ct.with_array(tempting))
        return d
