"""Pictures embedded in the report: photos with wrong verdicts, heat maps, charts."""

import base64
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode
from qc_lightning.data.decoding.shape import photo_size
from qc_lightning.metrics.verdict import escapes, overkills, worst_first

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

_MOST = 24
_MOST_NOVEL = 8
_LEAST_SIDE, _MOST_SIDE = 320, 512  # side of a square with as many pixels as a picture has
_BUDGET = 3_000_000  # total characters of all pictures, so that the page stays below 5 MB


class Pictures:
    """Builds data URLs within a size budget.

    Args:
        budget: total characters of all pictures.

    Attributes:
        left_out: number of pictures that did not fit.
    """

    def __init__(self, budget: int = _BUDGET) -> None:
        self.left_out = 0
        self._used, self._budget = 0, budget

    def embed(self, data: bytes, kind: str = "png") -> str | None:
        """Turn the bytes of a PNG or JPEG into a data URL; None if the budget is spent."""
        url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        if self._used + len(url) > self._budget:
            self.left_out += 1
            return None
        self._used += len(url)
        return url

    def pixels(self, pixels: "npt.NDArray[np.uint8]") -> str | None:
        """Embed a decoded photo, uint8 [3, H, W], at its own size."""
        from PIL import Image

        return self.embed(*_jpeg(Image.fromarray(pixels.transpose(1, 2, 0))))

    def figure(self, path: Path) -> str | None:
        """Embed a chart of the run, a large one as a JPEG."""
        from PIL import Image

        data = path.read_bytes()
        if len(data) <= 500_000:
            return self.embed(data)
        with Image.open(io.BytesIO(data)) as image:
            small = image.convert("RGB")
        small.thumbnail((1400, 1400))
        return self.embed(*_jpeg(small))

    def heat(self, path: Path, side: int) -> str | None:
        """Embed a heat map at the size of its photo."""
        from PIL import Image

        with Image.open(path) as image:
            picture = image.convert("RGB")
        return self.embed(*_jpeg(picture.resize(shown_size(picture.height, picture.width, side)[::-1])))

    def photo(self, photos: "RunPhotos", name: str) -> str | None:
        """Embed a photo of the run; None if it cannot be read or does not fit."""
        pixels = photos.decoded(name)
        return None if pixels is None else self.pixels(pixels)


@dataclass(frozen=True)
class RunPhotos:
    """Finds the photos of a run, and decodes them as in training but at the size at which a page shows them.

    Attributes:
        starts: folders that a relative path may start from, at least one.
        bit_depth: significant bits of 16-bit photos.
        side: side of the square with as many pixels as the network sees; a picture has at least 320 x 320, if the photo
            has, and at most 512 x 512.
    """

    starts: Sequence[Path]
    bit_depth: int
    side: int

    def locate(self, name: str) -> Path:
        """Path of a photo: an absolute path unchanged, a relative one below the first start that contains it."""
        places = [start / name for start in self.starts]
        # a name in an edited table may exceed the file system's limit, where Path.is_file raises
        return next((place for place in places if os.path.isfile(place)), places[0])  # noqa: PTH113

    def decoded(self, name: str) -> "npt.NDArray[np.uint8] | None":
        """A photo with its aspect ratio, uint8 [3, H, W]; None if it cannot be read."""
        path = self.locate(name)
        size = photo_size(path)
        if size is None:
            return None
        try:
            return decode(path, DecodeSettings(*shown_size(*size, self.side), bit_depth=self.bit_depth))
        except BadImage:
            return None


def mistakes(
    predictions: Sequence[Mapping[str, Any]],
    incorrect: str,
    split: Mapping[str, Mapping[str, str]],
    run: Path,
    photos: RunPhotos,
    pictures: Pictures,
) -> list[dict[str, Any]]:
    """The wrong verdicts, the worst first: escapes, then overkills.

    Args:
        predictions: rows of predictions.csv, with "p" as a number or None.
        incorrect: label of the positive class.
        split: rows of split.csv by path; its sha256 names a photo's heat map, `explanations/<sha256>.png`.
        run: the run folder.
        photos: the photos of the run.
        pictures: takes the photos.

    Returns:
        Per kind that occurs {"kind": "escape" | "overkill", "total", "shown"}, the latter a list of {"path", "p",
        "photo", "heat", "link"}.
    """
    verdicts, label = ([row["verdict"] for row in predictions], [int(row["label"] == incorrect) for row in predictions])
    order = worst_first(verdicts, [1.0 if row["p"] is None else row["p"] for row in predictions], label)
    escaped, overkilled = (
        [predictions[i] for i in order if wrong[i]] for wrong in (escapes(verdicts, label), overkills(verdicts, label))
    )
    half = _MOST // 2
    shown = []
    for kind, wrong, others in (("escape", escaped, overkilled), ("overkill", overkilled, escaped)):
        cards = []
        for row in wrong[: max(half, _MOST - len(others))]:
            sha256 = split.get(row["path"], {}).get("sha256", "")
            heat = run / "explanations" / f"{sha256}.png"
            cards.append(
                {
                    "path": row["path"],
                    "p": row["p"],
                    "photo": pictures.photo(photos, row["path"]),
                    "heat": pictures.heat(heat, photos.side) if sha256.isalnum() and heat.is_file() else None,
                    "link": link_to(photos.locate(row["path"]), run),
                }
            )
        if wrong:
            shown.append({"kind": kind, "total": len(wrong), "shown": cards})
    return shown


def link_to(file: Path, folder: Path) -> str:
    """Link from a page in `folder` to a file."""
    try:
        return quote(os.path.relpath(file.absolute(), folder.resolve()))
    except ValueError:  # on another drive
        return file.absolute().as_uri()


def shown_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width at which a picture of this size is shown: no larger than it is."""
    scale = min(1.0, min(max(side, _LEAST_SIDE), _MOST_SIDE) / math.sqrt(height * width))
    return max(8, round(scale * height)), max(8, round(scale * width))


def most_novel(predictions: Sequence[Mapping[str, Any]], photos: RunPhotos, pictures: Pictures) -> list[dict[str, Any]]:
    """The most novel photos, the highest novelty first; none if it was not measured.

    Args:
        predictions: rows of predictions.csv, with "novelty" as text.
        photos: the photos of the run.
        pictures: takes the thumbnails.

    Returns:
        [{"path", "novelty", "verdict", "photo"}].
    """
    measured = [(float(row["novelty"]), row) for row in predictions if row.get("novelty")]
    oddest = sorted(measured, key=lambda one: -one[0])[:_MOST_NOVEL]
    return [
        {
            "path": row["path"],
            "novelty": novelty,
            "verdict": row["verdict"],
            "photo": pictures.photo(photos, row["path"]),
        }
        for novelty, row in oddest
    ]


def _jpeg(image: "Image.Image") -> tuple[bytes, str]:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return data.getvalue(), "jpeg"
