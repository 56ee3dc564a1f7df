"""A GenICam camera: the simulated cameras of the GenTL producer in the package genicam."""

import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qc_lightning.core.errors import UserError
from qc_lightning.inference.log_file import query
from qc_lightning.service.camera import Camera
from qc_lightning.service.genicam import GenICamFrames, rgb
from test_camera import model  # noqa: F401  # a fixture
from test_service import Server
from test_sinks import until

genicam = pytest.importorskip("genicam")
PRODUCER = Path(genicam.__file__).parent / "viky.cti"
if not PRODUCER.exists():
    pytest.skip("this genicam brings no simulated camera", allow_module_level=True)


@pytest.mark.parametrize(("name", "channel"), [("VikyTL_DEV_red", 0), ("VikyTL_DEV_green", 1), ("2", 2)])
def test_a_camera_by_its_id_or_serial_number_gives_its_colour(name: str, channel: int) -> None:
    camera = Camera(f"genicam:{PRODUCER}#{name}")
    pixels = np.asarray(Image.open(BytesIO(camera.photo(5))))
    camera.close()
    assert pixels.shape == (400, 400, 3)
    ball = pixels[(pixels != 255).any(axis=2)]  # on white
    assert 50 < len(ball) < 10_000
    assert set(np.unique(ball[:, channel])) == {255}
    assert set(np.unique(np.delete(ball, channel, axis=1))) == {0}


def test_frames_are_new_and_a_camera_that_stopped_is_opened_again() -> None:
    camera = Camera(f"genicam:{PRODUCER}#VikyTL_DEV_red")
    assert camera.photo(5) != camera.photo(5), "the ball has moved"
    frames = camera._frames
    assert isinstance(frames, GenICamFrames)
    frames._camera.stop()
    until(lambda: "gives no frames" in camera.trouble)
    until(lambda: camera.trouble == "")
    camera.photo(5)
    camera.close()


@pytest.mark.slow
def test_the_service_inspects_what_it_sees(model: Path, tmp_path: Path) -> None:  # noqa: F811
    log = tmp_path / "line.sqlite"
    server = Server(f"model={model}", f"log={log}", f"camera=genicam:{PRODUCER}#VikyTL_DEV_blue", "camera_name=top")
    begun = time.monotonic()
    answer = server.client.post("/v1/trigger", params={"part": "4711"}).json()
    assert time.monotonic() - begun < 2
    assert (answer["part"], answer["camera"], answer["row"], answer["error"]) == ("4711", "top", 1, "")
    assert server.stop() == 0
    assert [row.entry.part for row in query(log)] == ["4711"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (f"{PRODUCER}", "expected one camera, or its name behind #, found VikyTL_DEV_red, VikyTL_DEV_green, Vik"),
        (f"{PRODUCER}#7", "expected a camera '7', found VikyTL_DEV_red"),
        ("/nowhere/vendor.cti", "expected a GenTL producer"),
        (__file__, "expected a GenTL producer"),
    ],
)
def test_a_camera_that_is_not_there_is_one_line(address: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        Camera(f"genicam:{address}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8"])
@pytest.mark.parametrize("colour", [(200, 0, 0), (0, 200, 0), (0, 0, 200), (30, 60, 90)])
def test_a_mosaic_of_one_colour_has_that_colour(kind: str, colour: tuple[int, int, int]) -> None:
    pytest.importorskip("cv2")
    red, green, blue = colour
    first, second = {"RG": ((red, green), (green, blue)), "GR": ((green, red), (blue, green)),
                     "GB": ((green, blue), (red, green)), "BG": ((blue, green), (green, red))}[kind[5:7]]  # fmt: skip
    mosaic = np.tile(np.array([first, second], np.uint8), (6, 8))[..., None]
    assert (rgb(mosaic, kind) == colour).all()


def test_an_unread_pixel_format_names_the_ones_to_set() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert rgb(pixels, "BGRa8")[0, 0].tolist() == [2, 1, 0]
    assert rgb(pixels[..., :1], "Mono8")[0, 1].tolist() == [4, 4, 4]
    with pytest.raises(ValueError, match="sends Mono12: set its PixelFormat to Mono8"):
        rgb(pixels, "Mono12")
