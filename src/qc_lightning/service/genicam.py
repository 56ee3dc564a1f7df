"""Industrial cameras (GigE Vision, USB3 Vision, CoaXPress) through GenICam: harvesters and a GenTL producer."""

import logging
from typing import TYPE_CHECKING

import numpy as np

from qc_lightning.core.errors import UserError
from qc_lightning.service.frames import READ_SECONDS, ppm

if TYPE_CHECKING:
    from harvesters.core import Harvester
    from numpy.typing import NDArray

_ORDERS = {  # indices of the channels R, G and B
    "Mono8": (0, 0, 0), "RGB8": (0, 1, 2), "RGB8Packed": (0, 1, 2), "RGBa8": (0, 1, 2), "BGR8": (2, 1, 0),
    "BGR8Packed": (2, 1, 0), "BGRa8": (2, 1, 0),
}  # fmt: skip
_BAYER = {"BayerRG8": "RGGB", "BayerGR8": "GRBG", "BayerGB8": "GBRG", "BayerBG8": "BGGR"}


class GenICamFrames:
    """A camera that sends frames continuously, with its own settings.

    Args:
        producer: the GenTL producer of the camera's maker, a .cti file.
        device: id, serial number or user-defined name of the camera; empty: the only one.

    Raises:
        UserError: harvesters or the producer is missing, or not exactly one camera matches.
    """

    def __init__(self, producer: str, device: str) -> None:
        try:
            from harvesters.core import Harvester
        except ModuleNotFoundError as error:
            raise UserError("camera: needs harvesters: pip install 'qc-lightning[genicam]'") from error
        logging.getLogger("harvesters.core").setLevel(logging.CRITICAL)  # our own message is one line
        self._harvester = Harvester()
        try:
            try:
                self._harvester.add_file(producer, check_existence=True, check_validity=True)
            except OSError as error:
                raise UserError(f"camera: expected a GenTL producer (.cti), there is none at {producer}") from error
            self._harvester.update()
            self._camera = self._harvester.create(_place(self._harvester, device))
            self._camera.start()
        except BaseException:
            self._harvester.reset()
            raise

    def read(self, wanted: bool) -> bytes | None:
        """The next frame; raises harvesters' error if none comes in time."""
        with self._camera.fetch(timeout=READ_SECONDS) as buffer:
            image = buffer.payload.components[0]
            if not wanted:
                return b""
            channels = int(image.num_components_per_pixel)
            lines = image.data.reshape(image.height, -1)[:, : image.width * channels]  # padding may follow
            return ppm(rgb(lines.reshape(image.height, image.width, channels), image.data_format))

    def release(self) -> None:
        """Stop and release the camera and the producer."""
        try:
            self._camera.stop()
            self._camera.destroy()
        finally:
            self._harvester.reset()


def rgb(pixels: "NDArray[np.uint8]", kind: str) -> "NDArray[np.uint8]":
    """Convert pixels to RGB.

    Args:
        pixels: [H, W, C], uint8.
        kind: GenICam's name of the pixel format.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: the format is not Mono8, RGB8, BGR8 (with or without alpha) or 8-bit Bayer.
    """
    if kind in _ORDERS:
        return np.ascontiguousarray(pixels[..., _ORDERS[kind]])
    if kind not in _BAYER:
        raise ValueError(f"the camera sends {kind}: set its PixelFormat to Mono8, RGB8, BGR8 or one of Bayer..8")
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise ValueError(f"{kind} needs OpenCV: pip install 'qc-lightning[camera]'") from error
    code = {"RGGB": cv2.COLOR_BayerRGGB2RGB, "GRBG": cv2.COLOR_BayerGRBG2RGB,
            "GBRG": cv2.COLOR_BayerGBRG2RGB, "BGGR": cv2.COLOR_BayerBGGR2RGB}[_BAYER[kind]]  # fmt: skip
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[..., 0]), code), np.uint8)


def _place(harvester: "Harvester", device: str) -> int:
    """Index of the camera in the producer's list."""
    known = [one.property_dict for one in harvester.device_info_list]  # None if a producer does not know it
    found = [{one[name] for name in ("id_", "serial_number", "user_defined_name")} for one in known]
    places = [place for place, names in enumerate(found) if not device or device in names]
    if len(places) == 1:
        return places[0]
    there = ", ".join(str(one["id_"]) for one in known) or "none"
    wanted = f"a camera '{device}'" if device else "one camera, or its name behind #"
    raise UserError(f"camera: expected {wanted}, found {there}")
