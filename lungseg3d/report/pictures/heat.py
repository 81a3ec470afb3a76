"""Values from 0 to 1 as colours to lay over a CT: one scale for doubt and one for explanations.

In: values as seen through a frame. Out: RGB arrays, small transparent PNGs. Knows no anatomy.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

_LEAST = 0.04  # below, nothing is drawn
_MOST_OPACITY = 0.8


@dataclass(frozen=True)
class HeatScale:
    """A scale of colours that grows lighter with the value, so that it reads in grey, too.

    Attributes:
        name: for people.
        stops: RGB at evenly spaced values from 0 to 1.
    """

    name: str
    stops: tuple[tuple[int, int, int], ...]

    def colours(self, values: np.ndarray) -> np.ndarray:
        """RGB uint8 (height, width, 3) of values (height, width), 0 to 1."""
        stops = np.array(self.stops, dtype=np.float32)
        at = np.clip(values, 0, 1)
        places = np.linspace(0, 1, len(stops))
        channels = [np.interp(at, places, stops[:, c]) for c in range(3)]
        colour: np.ndarray = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
        return colour

    def opacity(self, values: np.ndarray) -> np.ndarray:
        """How much of the colour covers the CT, 0 to 0.8, float32: more where the value is higher."""
        at = np.clip(values, 0, 1).astype(np.float32)
        return np.where(at < _LEAST, 0, _MOST_OPACITY * np.sqrt(at))

    def png(self, values: np.ndarray) -> bytes:
        """A picture with transparency, the same bytes for the same values."""
        rgba = np.dstack([self.colours(values), np.rint(255 * self.opacity(values)).astype(np.uint8)])
        rgba[rgba[..., 3] == 0] = 0
        buffer = io.BytesIO()
        Image.fromarray(rgba).quantize(64, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()

    @property
    def css(self) -> str:
        """The scale from left to right, for a legend."""
        return "linear-gradient(to right, " + ", ".join(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in self.stops) + ")"


# Anchors of viridis (van der Walt & Smith 2015) and inferno, from their middle tones on: the dark ends vanish on a CT.
DOUBT = HeatScale("uncertainty", ((59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)))
HEAT = HeatScale("explanation", ((87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)))
