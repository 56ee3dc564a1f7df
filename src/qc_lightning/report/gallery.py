"""Pictures inside the report: thumbnails of the wrong verdicts, heat maps, figures."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qc_lightning.data.decode import BadImage, DecodeSettings, decode
from qc_lightning.metrics.verdict import escapes, overkills, worst_first

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

_MOST = 24
_THUMBNAIL = 192  # pixels
_BUDGET = 3_000_000  # characters of all pictures together, so that the page stays below 5 MB


class Pictures:
    """Data URLs within a budget.

    Args:
        budget: characters of all pictures together.

    Attributes:
        left_out: pictures that no longer fitted.
    """

    def __init__(self, budget: int = _BUDGET) -> None:
        self.left_out = 0
        self._used, self._budget = 0, budget

    def embed(self, data: bytes, kind: str = "png") -> str | None:
        """Turn the bytes of a PNG or JPEG into a data URL; None when the budget is spent."""
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
        """Embed a figure of the run, a large one as a JPEG."""
        from PIL import Image

        data = path.read_bytes()
        if len(data) <= 500_000:
            return self.embed(data)
        with Image.open(io.BytesIO(data)) as image:
            small = image.convert("RGB")
        small.thumbnail((1400, 1400))
        return self.embed(*_jpeg(small))

    def thumbnail(self, path: Path) -> str | None:
        """Embed a picture of ours at the size of a photo's thumbnail."""
        from PIL import Image

        with Image.open(path) as image:
            small = image.convert("RGB")
        small.thumbnail((_THUMBNAIL, _THUMBNAIL))
        return self.embed(*_jpeg(small))

    def photo(self, path: Path, bit_depth: int) -> str | None:
        """Embed a thumbnail of a photo, through the decoder that training uses; None when it cannot be read."""
        from PIL import Image

        try:
            pixels = decode(path, DecodeSettings(_THUMBNAIL, _THUMBNAIL, "letterbox", bit_depth))
        except BadImage:
            return None
        return self.embed(*_jpeg(Image.fromarray(pixels.transpose(1, 2, 0))))


def mistakes(
    predictions: Sequence[Mapping[str, Any]],
    incorrect: str,
    split: Mapping[str, Mapping[str, str]],
    run: Path,
    starts: Sequence[Path],
    bit_depth: int,
    pictures: Pictures,
) -> list[dict[str, Any]]:
    """The wrong verdicts, the worst first: escapes, then overkills.

    Args:
        predictions: rows of predictions.csv, with "p" as a number or None.
        incorrect: label of the positive class.
        split: rows of split.csv by path; its sha256 names a photo's heat map, `explanations/<sha256>.png`.
        run: the run folder.
        starts: folders that a relative path may start from.
        bit_depth: of 16-bit photos.
        pictures: takes the thumbnails.

    Returns:
        Per kind that occurs {"kind": "escape" | "overkill", "total", "shown": [{"path", "p", "photo", "heat"}]}.
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
                    "photo": pictures.photo(_locate(row["path"], starts), bit_depth),
                    "heat": pictures.thumbnail(heat) if sha256.isalnum() and heat.is_file() else None,
                }
            )
        if wrong:
            shown.append({"kind": kind, "total": len(wrong), "shown": cards})
    return shown


def _locate(path: str, starts: Sequence[Path]) -> Path:
    """Where a photo lies: an absolute path as it is, a relative one below the first start that has it."""
    places = [start / path for start in starts]
    return next((place for place in places if place.is_file()), places[0])


def _jpeg(image: "Image.Image") -> tuple[bytes, str]:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return data.getvalue(), "jpeg"
