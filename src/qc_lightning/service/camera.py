"""Photos from a camera through OpenCV: USB, RTSP, a video file or numbered images, all in the same way."""

import os
import sys
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from qc_lightning.core.errors import UserError

if TYPE_CHECKING:
    import cv2

_OPEN_SECONDS, _READ_SECONDS = 5.0, 2.0  # after which a camera in the network is given up
_QUIET = {"OPENCV_LOG_LEVEL": "ERROR", "OPENCV_FFMPEG_LOGLEVEL": "-8"}  # what matters is said in one line of ours
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds before a camera that is gone is opened again


class CameraGone(Exception):
    """There is no photo: why, in words."""


class Camera:
    """A camera that stays open; a thread reads it, so that no old frame waits in a buffer.

    A camera that gives no frame is closed and opened again after 0.5 s, then twice that, at most 10 s. Of a file each
    photo is the next frame; after the last one it is opened again.

    Args:
        address: index of a USB camera; rtsp:// or http://; a video file; numbered images such as frames_%03d.png.

    Attributes:
        trouble: why there are no frames; empty when there are.

    Raises:
        UserError: OpenCV is missing, or there is no such camera.
    """

    def __init__(self, address: str) -> None:
        for name, quiet in _QUIET.items():
            os.environ.setdefault(name, quiet)
        try:
            import cv2  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError("camera: needs OpenCV: pip install 'qc-lightning[camera]'") from error
        self.trouble = ""
        self._address, self._name = address, _without_secrets(address)
        self._live = address.isdigit() or "://" in address
        self._capture = _opened(address)
        if self._capture is None:
            raise UserError(f"camera: there is none at {self._name}: give another index, address or file")
        self._ended = threading.Event()
        self._one = threading.Lock()  # one photo after the other
        self._change = threading.Condition()
        self._wanted, self._photo = False, b""
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def photo(self, seconds: float) -> bytes:
        """The next frame, its exposure not read before the call: a file in the PPM format.

        Args:
            seconds: to wait for it.

        Raises:
            CameraGone: there is none within that time.
        """
        deadline = time.monotonic() + seconds
        if not self._one.acquire(timeout=max(0.0, seconds)):
            raise CameraGone(f"the camera is busy for {seconds:.3g} s already")
        try:
            with self._change:
                self._wanted, self._photo = True, b""
                self._change.notify_all()
                self._change.wait_for(lambda: self._photo, max(0.0, deadline - time.monotonic()))
                self._wanted = False
                if not self._photo:
                    raise CameraGone(self.trouble or f"the camera gave no frame within {seconds:.3g} s")
                return self._photo
        finally:
            self._one.release()

    def close(self) -> None:
        """Let go of the camera."""
        self._ended.set()
        with self._change:
            self._change.notify_all()
        self._thread.join(_READ_SECONDS)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._ended.is_set():
            with self._change:
                if not self._live:  # its frames do not grow old
                    self._change.wait_for(lambda: self._wanted or self._ended.is_set(), 1.0)
                wanted = self._wanted
            if not (wanted or self._live):
                continue
            photo = self._next(wanted)
            if photo is None:
                if self._capture is not None:
                    self._capture.release()
                self._capture = None
                self.trouble = f"{self._name} gives no frames"
                self._ended.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self.trouble, pause = "", _FIRST_PAUSE
            with self._change:
                if wanted and self._wanted:
                    self._photo, self._wanted = photo, False
                    self._change.notify_all()
        if self._capture is not None:
            self._capture.release()

    def _next(self, wanted: bool) -> bytes | None:
        """The next frame as a file, or an empty one when nobody wants it; None when there is none."""
        try:
            self._capture = self._capture or _opened(self._address)
            if self._capture is None or not self._capture.grab():
                return None
            if not wanted:
                return b""
            there, frame = self._capture.retrieve()
        except Exception:  # cv2.error, whose text is of OpenCV's source
            return None
        if not there or frame is None or frame.ndim != 3:
            return None
        height, width = frame.shape[:2]
        return f"P6 {width} {height} 255\n".encode() + frame[..., ::-1].tobytes()


def _opened(address: str) -> "cv2.VideoCapture | None":
    import cv2

    if address.isdigit():
        kind = cv2.CAP_DSHOW if sys.platform == "win32" else cv2.CAP_ANY
        capture = cv2.VideoCapture(int(address), kind)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    elif "://" in address:
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_SECONDS), (cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_SECONDS)
        options = [number for key, seconds in limits for number in (key, int(1000 * seconds))]
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, options)
    else:
        capture = cv2.VideoCapture(address)
    if capture.isOpened():
        return capture
    capture.release()
    return None


def _without_secrets(address: str) -> str:
    """An address as messages have it, without user and password.

    >>> _without_secrets("rtsp://admin:secret@10.0.0.5:554/one"), _without_secrets("0")
    ('rtsp://10.0.0.5:554/one', '0')
    """
    parts = urlsplit(address)
    return address if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
