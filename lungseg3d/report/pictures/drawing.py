"""A grey picture that takes outlines, names, side letters and a scale bar, and becomes PNG or JPEG bytes.

In: HU as seen through a frame, lines in picture pixels. Out: bytes, the same for the same input. Knows no anatomy.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
_OVERSAMPLING = 3
_BAR_LENGTHS_MM = (1, 2, 5, 10, 20, 50, 100, 200)


def window_hu(hu: np.ndarray, centre: float, width: float) -> np.ndarray:
    """HU -> uint8: black at centre - width / 2 and below, white at centre + width / 2 and above."""
    grey = (hu.astype(np.float32) - (centre - width / 2)) * (255 / width)
    rounded: np.ndarray = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return rounded


class Picture:
    """A picture being drawn on; positions are (column, row) in its pixels, pixel i reaching from i to i + 1.

    Args:
        grey: uint8, shape (height, width).
    """

    def __init__(self, grey: np.ndarray) -> None:
        self._image = Image.fromarray(grey)  # in colour from the first that is drawn on
        self._taken: list[tuple[float, float, float, float]] = []
        self._font_size = max(20, round(max(grey.shape) / 26))

    def draw_outlines(self, lines: Iterable[np.ndarray], colour: Colour, width: float = 1.5) -> None:
        """Lines (N, 2) with smooth edges, `width` picture pixels wide."""
        found = [line for line in lines if len(line) > 1]
        if not found:
            return
        left, top, right, bottom = self._around(found, 2 * width)
        if left >= right or top >= bottom:
            return
        cover = Image.new("L", ((right - left) * _OVERSAMPLING, (bottom - top) * _OVERSAMPLING))
        pen = ImageDraw.Draw(cover)
        for line in found:
            points = [tuple(point) for point in ((line - (left, top)) * _OVERSAMPLING - 0.5).tolist()]
            pen.line(points, fill=255, width=max(1, round(width * _OVERSAMPLING)), joint="curve")
        self._in_colour().paste(colour, (left, top), cover.reduce(_OVERSAMPLING))

    def tint(self, mask: np.ndarray, colour: Colour, opacity: float) -> None:
        """Colour over the picture pixels where `mask`, bool (height, width), is true; `opacity` 0 to 1."""
        self._in_colour().paste(colour, mask=Image.fromarray((mask * round(255 * opacity)).astype(np.uint8)))

    def lay_over(self, colours: np.ndarray, opacity: np.ndarray) -> None:
        """Colours, RGB uint8 (height, width, 3), over the picture; `opacity` (height, width) 0 to 1."""
        self._in_colour().paste(Image.fromarray(colours), mask=Image.fromarray(np.rint(255 * opacity).astype(np.uint8)))

    def draw_name(self, name: str, around: tuple[float, float, float, float], colour: Colour) -> None:
        """A short name beside the box `around` (left, top, right, bottom), where it covers no other name."""
        font = _font(self._font_size)
        width, height = font.getlength(name), float(self._font_size)
        left, top, right, bottom = around
        gap, middle, centre = 4.0, (top + bottom - height) / 2, (left + right - width) / 2
        places = [
            (right + gap, top - height),
            (left - gap - width, top - height),
            (right + gap, bottom),
            (left - gap - width, bottom),
            (right + gap, middle),
            (left - gap - width, middle),
            (centre, top - gap - height),
            (centre, bottom + gap),
        ]
        boxes = [(x, y, x + width, y + height) for x, y in places]
        self._taken.append(around)
        place = next((box for box in boxes if self._is_free(box)), boxes[0])
        self._taken.append(place)
        self._write(place[:2], name, font, colour)

    def draw_sides(self, left: str, right: str) -> None:
        """The letters of the patient's sides, at half height at both edges."""
        font = _font(round(self._font_size * 1.15))
        row = (self._image.height - font.size) / 2
        for letter, column in ((left, 6.0), (right, self._image.width - 6 - font.getlength(right))):
            self._taken.append((column, row, column + font.getlength(letter), row + font.size))
            self._write((column, row), letter, font, WHITE)

    def draw_scale_bar(self, pixel_mm: float) -> None:
        """A bar of a round length of at most a third of the picture's width, lower right, with its length in mm."""
        fitting = [mm for mm in _BAR_LENGTHS_MM if mm / pixel_mm <= self._image.width / 3]
        if not fitting:
            return
        length = fitting[-1] / pixel_mm
        right, row = self._image.width - 10.0, self._image.height - 10.0
        pen = ImageDraw.Draw(self._image)
        pen.rectangle((round(right - length) - 1, row - 3, right, row + 1), fill="black")
        pen.rectangle((round(right - length), row - 2, right - 1, row), fill="white")
        font = _font(self._font_size)
        text = f"{fitting[-1]} mm"
        self._write((right - font.getlength(text), row - 6 - self._font_size), text, font, WHITE)

    @staticmethod
    def sheet(rows: Sequence[Sequence[Picture]], title: str, notes: Sequence[str]) -> Picture:
        """Pictures of one size in rows, a title above and notes below."""
        width, height = rows[0][0]._image.size
        gap, line = 8, 22
        columns = max(len(row) for row in rows)
        top = line + 2 * gap
        size = (columns * (width + gap) + gap, top + len(rows) * (height + gap) + len(notes) * line + gap)
        sheet = Picture(np.full(size[::-1], 24, np.uint8))
        for r, row in enumerate(rows):
            for c, picture in enumerate(row):
                sheet._in_colour().paste(picture._image, (gap + c * (width + gap), top + r * (height + gap)))
        sheet._write((gap, gap), title, _font(18), WHITE)
        below = top + len(rows) * (height + gap)
        for number, note in enumerate(notes):
            sheet._write((gap, below + number * line), note, _font(15), WHITE)
        return sheet

    def encode(self, image_format: str = "png", quality: int = 88) -> bytes:
        """The picture as `png` or `jpeg` bytes; `quality` (1 to 95) is for JPEG alone.

        Raises:
            ValueError: another format.
        """
        buffer = io.BytesIO()
        image = self._image
        if image.mode == "RGB":
            channels = np.asarray(image)
            if (channels == channels[:, :, :1]).all():
                image = image.convert("L")  # without colour, a third of the work and less to store
        if image_format == "png":
            image.save(buffer, "PNG")
        elif image_format == "jpeg":
            # Full-resolution colour: thin coloured lines wash out in 4:2:0.
            image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
        else:
            raise ValueError(f"image_format is {image_format!r}; it can be 'png' or 'jpeg'")
        return buffer.getvalue()

    def _is_free(self, box: tuple[float, float, float, float]) -> bool:
        left, top, right, bottom = box
        if left < 0 or top < 0 or right > self._image.width or bottom > self._image.height:
            return False
        return all(right <= a or left >= c or bottom <= b or top >= d for a, b, c, d in self._taken)

    def _in_colour(self) -> Image.Image:
        if self._image.mode != "RGB":
            self._image = self._image.convert("RGB")
        return self._image

    def _around(self, lines: Sequence[np.ndarray], margin: float) -> tuple[int, int, int, int]:
        """What of the picture the lines and a margin around them cover: left, top, right, bottom in whole pixels."""
        points = np.concatenate(lines)
        size = np.array(self._image.size)
        low = np.clip(np.floor(points.min(axis=0) - margin), 0, size).astype(int)
        high = np.clip(np.ceil(points.max(axis=0) + margin), 0, size).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def _write(self, place: tuple[float, ...], text: str, font: ImageFont.FreeTypeFont, colour: Colour) -> None:
        pen = ImageDraw.Draw(self._image if colour == WHITE else self._in_colour())
        ink = "white" if colour == WHITE else colour  # by name it fits a grey picture, too
        pen.text((place[0], place[1]), text, fill=ink, font=font, stroke_width=2, stroke_fill="black")


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, so that pictures do not depend on what is installed."""
    return ImageFont.load_default(size)  # type: ignore[return-value]
