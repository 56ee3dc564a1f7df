"""The interface of a camera, and cameras through OpenCV."""

import os
import sys
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qc_lightning.core.errors import UserError

if TYPE_CHECKING:
    import cv2
    from numpy.typing import NDArray

OPEN_SECONDS, READ_SECONDS = 5.0, 2.0  # timeout of a network camera
_QUIET = {"OPENCV_LOG_LEVEL": "ERROR", "OPENCV_FFMPEG_LOGLEVEL": "-8"}  # our own message is one line


class Frames(Protocol):
    """An open camera."""

    def read(self, wanted: bool) -> bytes | None:
        """The next frame as a PPM file; empty bytes if it is not wanted, None if there is none.

        Any exception also means that there is no frame.
        """
        ...

    def release(self) -> None:
        """Release the camera."""
        ...


def ppm(pixels: "NDArray[np.uint8]") -> bytes:
    """Encode RGB pixels, uint8 [H, W, 3], as a PPM file."""
    height, width = pixels.shape[:2]
    return f"P6 {width} {height} 255\n".encode() + pixels.tobytes()


class OpenCvFrames:
    """A camera through OpenCV: USB, RTSP, a video file or numbered images.

    Args:
        capture: an open capture.
    """

    def __init__(self, capture: "cv2.VideoCapture") -> None:
        self._capture = capture

    def read(self, wanted: bool) -> bytes | None:
        """The next frame, decoded only when it is wanted."""
        if not self._capture.grab():
            return None
        if not wanted:
            return b""
        there, frame = self._capture.retrieve()
        if not there or frame is None or frame.ndim != 3:
            return None
        return ppm(np.asarray(frame[..., ::-1], np.uint8))  # OpenCV returns BGR

    def release(self) -> None:
        """Close it."""
        self._capture.release()


def open_capture(address: str) -> "cv2.VideoCapture | None":
    """Open a camera with OpenCV; None if there is none.

    Raises:
        UserError: OpenCV is missing.
    """
    for name, quiet in _QUIET.items():
        os.environ.setdefault(name, quiet)
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise UserError("camera: needs OpenCV: pip install 'qc-lightning[camera]'") from error
    if address.isdigit():
        kind = cv2.CAP_DSHOW if sys.platform == "win32" else cv2.CAP_ANY
        capture = cv2.VideoCapture(int(address), kind)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    elif "://" in address:
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_SECONDS), (cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_SECONDS)
        options = [number for key, seconds in limits for number in (key, int(1000 * seconds))]
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, options)
    else:
        capture = cv2.VideoCapture(address)
    if capture.isOpened():
        return capture
    capture.release()
    return None
