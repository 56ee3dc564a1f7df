"""The result of one photo, and the steps shared by all kinds of models: decode, score, decide. Needs no torch."""

import hashlib
import io
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode_bytes, decode_image
from qc_lightning.data.decoding.image_file import check_ending, file_bytes
from qc_lightning.data.sources.remote import RemotePhoto
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.verdict import Verdict

Picture = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]
"""A file's name, a file's bytes, a PIL image, or pixels uint8 [H, W, 3] in RGB of any size."""


class _PhotoFile(Protocol):
    """A photo of a dataset or a list: its file, and the name of its camera, empty if unknown."""

    @property
    def path(self) -> Path: ...
    @property
    def camera(self) -> str: ...


@dataclass(frozen=True, slots=True)
class CameraPhoto:
    """A photo and the camera that took it, for models with a region for each camera; other models ignore the name.

    Attributes:
        photo: a file, its bytes, an image or pixels.
        camera: its name, as in training; empty if unknown.
    """

    photo: Picture | RemotePhoto
    camera: str

    @classmethod
    def of(cls, photo: _PhotoFile) -> Self:
        """The file and the camera of a photo, such as a `data.photo.Photo`."""
        return cls(photo.path, photo.camera)

    @property
    def path(self) -> Path:
        """The file, for a photo that was given as a Path."""
        assert isinstance(self.photo, Path)
        return self.photo


PhotoLike = Picture | CameraPhoto
"""The photos that an inspector takes."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """One photo's result.

    Attributes:
        path: the file; None if the photo came from elsewhere.
        sha256: of the file's bytes, hex; empty if there are none.
        verdict: verdict of the photo.
        probability: P(Incorrect) in [0, 1]; None if the photo could not be read or the network gave no finite number.
        logit: the network's output; None if the photo could not be read.
        threshold: threshold of the decision.
        novelty: novelty of the photo, 0 or above; None if the model does not measure it.
        reason: why a person has to look at it, in words; empty if the probability alone gave the verdict.
        model_id: id of the model.
        seconds: time of decoding plus the photo's share of the network's time.
        error: why there is no probability, else empty.
        measures: drift statistics in the order of the reference's names; empty if none are measured.
    """

    path: Path | None
    sha256: str
    verdict: Verdict
    probability: float | None
    logit: float | None
    threshold: float
    novelty: float | None
    reason: str
    model_id: str
    seconds: float
    error: str
    measures: tuple[float, ...] = ()


class Decoded(NamedTuple):
    """A decoded photo, or the reason why it cannot be read.

    Attributes:
        path: the file, if there is one.
        pixels: uint8 [3, H, W] as the network was trained on; None if the photo could not be read.
        sha256: of the file's bytes, hex.
        seconds: time of decoding.
        error: why there are no pixels, else empty.
    """

    path: Path | None
    pixels: npt.NDArray[np.uint8] | None
    sha256: str
    seconds: float
    error: str


def decode_photo(photo: PhotoLike | RemotePhoto, settings: DecodeSettings) -> Decoded:
    """Decode a photo as in training; an unreadable photo gives a result with the reason instead of an exception.

    The pixels of a JPEG file and of the same JPEG already loaded can differ by a few levels, because a file is decoded
    at a reduced scale (see `data.decode`). An image that Pillow has opened but not loaded is treated as its file.

    Raises:
        TypeError: it is of another type, or an array of another type than uint8.
        ValueError: it is an array of another shape than [H, W, 3].
    """
    name: PurePath | None = None
    path, pixels, sha256, error = None, None, "", ""
    begun = time.perf_counter()
    camera = photo.camera if isinstance(photo, CameraPhoto) else ""
    photo = photo.photo if isinstance(photo, CameraPhoto) else photo
    if isinstance(photo, np.ndarray):
        photo = Image.fromarray(_checked(photo))
    elif not isinstance(photo, str | os.PathLike | bytes | Image.Image | RemotePhoto):
        raise TypeError(f"expected a path, bytes, a PIL image or a uint8 array, got {type(photo).__name__}")
    try:
        if isinstance(photo, Image.Image):
            data = _unread(photo)
        elif isinstance(photo, bytes):
            data = photo
        elif isinstance(photo, RemotePhoto):
            name, data = photo.name, photo.read()
        else:
            name = path = Path(photo)
            data = file_bytes(path)
        sha256 = "" if data is None else hashlib.sha256(data).hexdigest()
        if name is not None:
            check_ending(name)
        if data is not None:
            pixels = decode_bytes(data, settings.at(camera))
        elif isinstance(photo, Image.Image):
            pixels = decode_image(photo, settings.at(camera))
    except BadImage as reason:
        error = str(reason)
    except Exception as reason:  # one unusual file must not stop a million others
        error = f"{type(reason).__name__}: {reason}"
    return Decoded(path, pixels, sha256, time.perf_counter() - begun, error)


def check_decoded(pixels: npt.NDArray[np.uint8], settings: DecodeSettings) -> None:
    """Check that an array contains decoded photos, uint8 [B, 3, H, W].

    Raises:
        TypeError: it is not uint8.
        ValueError: it has another shape.
    """
    if pixels.dtype != np.uint8:
        raise TypeError(f"expected decoded photos of type uint8, got {pixels.dtype}")
    if pixels.shape[1:] != settings.shape:
        wanted = ["B", *settings.shape]
        raise ValueError(f"expected decoded photos of shape {wanted}, got {list(pixels.shape)}: see `decode`")


def check_unreadable(verdict: Verdict) -> None:
    """Check that the verdict on an unreadable photo is not PASS.

    Raises:
        ValueError: it would be.
    """
    if verdict == Verdict.PASS:
        raise ValueError("expected REVIEW or REJECT for photos that cannot be read, got PASS")


def conclude(
    photos: Sequence[Decoded],
    logit: Sequence[float],
    probability: Sequence[float],
    novelty: Sequence[float] | None,
    decision: Decision,
    model_id: str,
    unreadable: Verdict,
    seconds: float,
) -> list[Inspection]:
    """Build the results of photos from the network's outputs for the readable ones.

    Args:
        photos: n photos.
        logit: the network's output for the m <= n photos that could be read, in their order.
        probability: P(Incorrect) of the same photos.
        novelty: novelty of the same photos; None if the model does not measure it.
        decision: rule that turns a probability into a verdict.
        model_id: id of the model.
        unreadable: the verdict on a photo that could not be read.
        seconds: network time for each of the m photos.
    """
    verdicts = iter(decision.verdicts(probability, novelty).tolist())
    measured = zip(logit, probability, novelty if novelty is not None else [None] * len(logit), strict=True)
    inspections = []
    for path, pixels, sha256, spent, error in photos:
        verdict, z, p, n, reason = unreadable, None, None, None, "cannot be read"
        if pixels is not None:
            (z, p, n), verdict = next(measured), Verdict(next(verdicts))
            reason = decision.reason(p, n)
            error = error if math.isfinite(p) else "the network gave no finite number"
            spent += seconds
            p = p if math.isfinite(p) else None
        inspections.append(
            Inspection(path, sha256, verdict, p, z, decision.threshold, n, reason, model_id, spent, error)
        )
    return inspections


def _checked(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if pixels.dtype != np.uint8:
        raise TypeError(f"expected pixels of type uint8 from 0 to 255, got {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"expected pixels [height, width, 3] in RGB, got an array of shape {list(pixels.shape)}")
    return np.ascontiguousarray(pixels)


def _unread(image: Image.Image) -> bytes | None:
    """The bytes of the file that an image was opened from, if its pixels are not loaded yet."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.fp is None or image.tell() != 0:
        return None
    place = image.fp.tell()
    image.fp.seek(0, io.SEEK_SET)
    data = image.fp.read()
    image.fp.seek(place, io.SEEK_SET)
    return data
