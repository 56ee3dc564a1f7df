"""Photos from an open camera of any kind: a frame taken after the call, in time or not at all."""

import contextlib
import threading
import time

from qc_lightning.core.address import without_secrets
from qc_lightning.core.errors import UserError
from qc_lightning.service.frames import READ_SECONDS, Frames, OpenCvFrames, open_capture

_GENICAM = "genicam:"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds before a lost camera is reopened


class CameraGone(Exception):
    """The camera gives no photo; the message is the reason."""


class Camera:
    """An open camera; a thread reads it continuously, so that no old frame waits in a buffer.

    A camera that gives no frame is closed and reopened after 0.5 s; the delay doubles up to 10 s. For a file, each
    photo is the next frame; after the last frame the file is reopened.

    Args:
        address: index of a USB camera; rtsp:// or http://; a video file; numbered images such as frames_%03d.png;
            genicam:producer.cti[#camera].

    Attributes:
        trouble: why there are no frames; empty if there are.

    Raises:
        UserError: a package is missing, or there is no such camera.
    """

    def __init__(self, address: str) -> None:
        self.trouble = ""
        self._address, self._name = address, without_secrets(address)
        self._live = _is_live(address)
        self._frames: Frames | None = _open_frames(address)
        if self._frames is None:
            raise UserError(f"camera: there is none at {self._name}: give another index, address or file")
        self._ended = threading.Event()
        self._one = threading.Lock()  # one photo after the other
        self._change = threading.Condition()
        self._wanted, self._photo = False, b""
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def photo(self, seconds: float) -> bytes:
        """The next frame read after the call, as a PPM file.

        Args:
            seconds: longest time to wait.

        Raises:
            CameraGone: no frame arrived within that time.
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
        """Release the camera."""
        self._ended.set()
        with self._change:
            self._change.notify_all()
        self._thread.join(READ_SECONDS)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._ended.is_set():
            with self._change:
                if not self._live:  # its frames do not expire
                    self._change.wait_for(lambda: self._wanted or self._ended.is_set(), 1.0)
                wanted = self._wanted
            if not (wanted or self._live):
                continue
            photo, why = self._next(wanted)
            if photo is None:
                self._release()
                self.trouble = f"{self._name} gives no frames{why}"
                self._ended.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self.trouble, pause = "", _FIRST_PAUSE
            with self._change:
                if wanted and self._wanted:
                    self._photo, self._wanted = photo, False
                    self._change.notify_all()
        self._release()

    def _next(self, wanted: bool) -> tuple[bytes | None, str]:
        """As `Frames.read`, with the reason for a missing frame if it is known, else empty."""
        try:
            self._frames = self._frames or _open_frames(self._address)
            return (self._frames.read(wanted) if self._frames else None), ""
        except (UserError, ValueError) as error:
            return None, f" ({error})"
        except Exception:  # cv2.error, whose text quotes OpenCV's source, and harvesters' errors
            return None, ""

    def _release(self) -> None:
        frames, self._frames = self._frames, None
        if frames:
            with contextlib.suppress(Exception):  # a disconnected camera
                frames.release()


def _open_frames(address: str) -> Frames | None:
    """Open the camera at an address; None if there is none.

    Raises:
        UserError: the required package is missing, or the camera library gave a reason.
    """
    if address.startswith(_GENICAM):
        from qc_lightning.service.genicam import GenICamFrames

        producer, _, device = address.removeprefix(_GENICAM).partition("#")
        return GenICamFrames(producer, device)
    capture = open_capture(address)
    return OpenCvFrames(capture) if capture else None


def _is_live(address: str) -> bool:
    """Whether unread frames expire, unlike those of files."""
    return address.isdigit() or "://" in address or address.startswith(_GENICAM)
