"""Facts from a photo's file without decoding it: kind, size, JPEG quality, date.

None of these shows a defect. If the classes differ in one of them, their photos were not taken alike.
"""

import datetime
import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ImageFile, JpegImagePlugin

from qc_lightning.data.decoding.image_file import BadImage, open_header

_EXIF, _CAMERA, _TAKEN, _CHANGED = 0x8769, 0x0110, 0x9003, 0x0132  # EXIF tags
# mean of libjpeg's luminance table at quality 50 (ITU-T T.81, table K.1)
_LUMINANCE = 57.625


@dataclass(frozen=True)
class FileFacts:
    """Facts of one file.

    Attributes:
        kind: format, such as JPEG or PNG.
        mode: how a pixel is stored, in Pillow's words: L, RGB, I;16, ...
        width: pixels, as stored.
        height: pixels, as stored.
        quality: of a JPEG on libjpeg's scale of 1 to 100, estimated from its quantization table; NaN for others.
        modified: seconds since 1970 of the file's last change.
        taken: seconds since 1970 by the camera's clock; NaN when the file does not say.
        camera: model by EXIF, empty if the file does not say.
    """

    kind: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    quality: float = math.nan
    modified: float = math.nan
    taken: float = math.nan
    camera: str = ""


def read_file_facts(paths: Sequence[Path]) -> list[FileFacts]:
    """Read the facts of each file from its header; an unreadable file has none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on metadata
        return [_facts(path) for path in paths]


def _facts(path: Path) -> FileFacts:
    try:
        with path.open("rb") as file:
            image = open_header(file)
            camera, taken = _exif(image)
            kind, (width, height) = image.format or "", image.size
            return FileFacts(kind, image.mode, width, height, _quality(image), path.stat().st_mtime, taken, camera)
    except (BadImage, OSError):
        return FileFacts()


def _quality(image: ImageFile.ImageFile) -> float:
    """Undo libjpeg's scaling of its luminance table: scale = 5000 / q below quality 50, 200 - 2 q from there on."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not image.quantization:
        return math.nan
    scale = 100 * float(np.mean(image.quantization[min(image.quantization)])) / _LUMINANCE
    return min(100.0, max(1.0, (200 - scale) / 2 if scale <= 100 else 5000 / scale))


def _exif(image: ImageFile.ImageFile) -> tuple[str, float]:
    if "exif" not in image.info:
        return "", math.nan
    camera, taken = "", math.nan
    with suppress(Exception):  # unreadable EXIF in a good photo is ignored
        exif = image.getexif()
        camera = str(exif.get(_CAMERA, "")).strip("\0 ")
        text = str(exif.get_ifd(_EXIF).get(_TAKEN) or exif.get(_CHANGED) or "")
        taken = datetime.datetime.strptime(text.strip("\0 "), "%Y:%m:%d %H:%M:%S").timestamp()
    return camera, taken
