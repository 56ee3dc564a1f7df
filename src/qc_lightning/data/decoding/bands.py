"""Resize large photos in bands of rows, so that conversions need extra memory for one band only."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

_BAND = 40_000_000  # pixels; smaller photos are one band


@dataclass(frozen=True)
class Bands:
    """A decoded photo.

    Attributes:
        size: width and height.
        convert: called with a first row and the row after the last; gives these rows as images of mode L, RGB or F, one
            or one per colour.
    """

    size: tuple[int, int]
    convert: Callable[[int, int], list[Image.Image]]

    def cropped(self, box: tuple[int, int, int, int]) -> "Bands":
        """A part of the photo: left, upper, right and lower, in pixels."""
        left, upper, right, lower = box

        def convert(top: int, bottom: int) -> list[Image.Image]:
            return [plane.crop((left, 0, right, bottom - top)) for plane in self.convert(upper + top, upper + bottom)]

        return Bands((right - left, lower - upper), convert)

    def resized(self, size: tuple[int, int], box: tuple[float, float, float, float] | None = None) -> list[Image.Image]:
        """The photo at another size, with antialiasing, as Pillow's bilinear filter makes it.

        Pillow resizes the rows and then the columns, so the rows can come in bands. Of tall photos it takes the columns
        first; there several bands differ from one in some pixels, by one level of 255.

        Args:
            size: width and height.
            box: the part of the photo that is resized; None for all of it.
        """
        width, height = self.size
        left, upper, right, lower = box or (0, 0, width, height)
        band_height = max(1, _BAND // width)
        if band_height >= height:
            return [plane.resize(size, Image.Resampling.BILINEAR, box=box) for plane in self.convert(0, height)]
        narrow: list[Image.Image] = []
        for top in range(0, height, band_height):
            bottom = min(height, top + band_height)
            for place, plane in enumerate(self.convert(top, bottom)):
                if top == 0:
                    narrow.append(Image.new(plane.mode, (size[0], height)))
                part: tuple[float, float, float, float] = (left, 0, right, bottom - top)
                narrow[place].paste(plane.resize((size[0], bottom - top), Image.Resampling.BILINEAR, part), (0, top))
        part = (0, upper, size[0], lower)
        return [plane.resize(size, Image.Resampling.BILINEAR, part) for plane in narrow]
