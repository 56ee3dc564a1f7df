"""The operator's page in a real browser, as a person uses it: photos, camera, languages, overrides, alarms."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.log_file import query
from test_camera import frames, model  # noqa: F401  # a fixture
from test_report_browser import CHROMIUM
from test_service import Server
from test_sinks import until

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page with"),
]
PAGES = Path(__file__).parents[1] / "src/qc_lightning/service/page_files"
WORDS = json.loads((PAGES / "words.json").read_text(encoding="utf-8"))
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # a green picture with a counter
PHONE = {"width": 390, "height": 844}
DROP = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)), carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type: "image/png" }));
  document.getElementById("view").dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true }));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *CAMERA])
        yield browser
        browser.close()


@pytest.fixture
def server(model: Path, tmp_path: Path) -> Iterator[Server]:  # noqa: F811
    server = Server(f"model={model}", f"log={tmp_path / 'line.sqlite'}", "keep=all", "max_megabytes=2")
    yield server
    if server.process.poll() is None:
        server.stop()


class Page:
    """The page, with its requests and console messages."""

    def __init__(self, browser: Any, server: Server, **context: Any) -> None:
        self.context = browser.new_context(locale="en-US", **context)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(server.url)
        self.page.locator("#reviews").wait_for()  # the state has arrived: there is a log

    def drop(self, photo: Path) -> None:
        self.page.evaluate(DROP, [base64.b64encode(photo.read_bytes()).decode(), photo.name])

    def text(self, name: str) -> str:
        return str(self.page.locator(name).inner_text())

    def expect(self, name: str, text: str) -> None:
        playwright.expect(self.page.locator(name)).to_contain_text(text, timeout=10_000)


def test_a_photo_is_dropped_judged_and_overridden_in_german(
    browser: Any,
    server: Server,
    model: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    photo = frames(tmp_path / "in", 1)[0]
    verdict = ExportedInspector.load(model)(str(photo)).verdict
    page = Page(browser, server)
    page.drop(photo)
    page.expect("#word", WORDS["en"][verdict])
    assert page.page.locator("#verdict").get_attribute("class") == verdict
    assert page.page.evaluate("document.getElementById('photo').naturalWidth") > 0, "the photo is shown"

    page.page.select_option("#language", "de")
    page.expect("#word", WORDS["de"][verdict])
    assert page.page.evaluate("document.documentElement.lang") == "de"
    assert page.text("#good") == WORDS["de"]["good"]

    page.page.locator("#strip button").first.click()
    playwright.expect(page.page.locator("#good")).to_be_focused(timeout=10_000)
    key, other, reason = ("b", "REJECT", "Kratzer") if verdict == "PASS" else ("g", "PASS", "Staub, abgewischt")
    page.page.keyboard.press(key)
    page.expect("#said", WORDS["de"]["neednamed"])
    page.page.fill("#name", "Änne")
    page.page.locator("#skip").focus()
    page.page.keyboard.press(key)
    if verdict != "REVIEW":
        page.expect("#said", WORDS["de"]["needreason"])
    page.page.fill("#reason", reason)
    page.page.locator("#skip").focus()
    page.page.keyboard.press(key)
    page.expect("#said", "Änne")
    assert page.errors == []
    assert {url.split("/")[2] for url in page.asked if not url.startswith(("blob:", "data:"))} == {server.url[7:]}
    page.context.close()
    first, second = (row.entry for row in query(tmp_path / "line.sqlite"))
    assert (first.part, first.verdict, first.overrides) == (photo.name, verdict, None)
    assert (second.overrides, second.verdict, second.who, second.reason) == (1, other, "Änne", reason)


def test_the_address_names_the_camera_of_the_pages_photos(browser: Any, server: Server, tmp_path: Path) -> None:
    page = Page(browser, server)
    page.page.goto(f"{server.url}/?camera=top%20left")
    page.drop(*frames(tmp_path / "in", 1))
    page.page.locator("#strip li").first.wait_for()
    assert [row.entry.source for row in query(tmp_path / "line.sqlite")] == ["top left"]
    assert page.errors == []
    page.context.close()


def test_a_photo_of_the_browsers_camera_and_a_service_that_is_gone(
    browser: Any, server: Server, tmp_path: Path
) -> None:
    page = Page(browser, server)
    page.page.click("#camera")
    until(lambda: page.page.evaluate("document.getElementById('video').videoWidth") > 0)
    page.page.evaluate("document.activeElement.blur()")
    page.page.keyboard.press("Space")
    page.page.locator("#strip li").first.wait_for()
    assert page.text("#word") in {WORDS["en"][name] for name in ("PASS", "REVIEW", "REJECT")}
    assert page.errors == []
    assert len(list(query(tmp_path / "line.sqlite"))) == 1
    assert server.stop() == 0
    page.expect("#alarm", WORDS["en"]["gone"])
    assert page.page.locator("#alarm").get_attribute("role") == "alert"
    page.context.close()


@pytest.mark.parametrize(("scheme", "size"), [("dark", {"width": 1280, "height": 800}), ("light", PHONE)])
def test_dark_and_phone(browser: Any, server: Server, tmp_path: Path, scheme: str, size: dict[str, int]) -> None:
    page = Page(browser, server, color_scheme=scheme, viewport=size, has_touch=size == PHONE)
    for photo in frames(tmp_path / "in", 3):
        page.drop(photo)
    playwright.expect(page.page.locator("#strip li")).to_have_count(3, timeout=10_000)
    page.page.screenshot(path=tmp_path / "page.png", full_page=True)
    seen = page.page.locator("#verdict").bounding_box()
    assert seen["y"] + seen["height"] < size["height"], "the verdict is seen without scrolling"
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.page.evaluate(wide), "nothing to scroll sideways"
    corner = Image.open(tmp_path / "page.png").convert("L").getpixel((2, 2))
    assert isinstance(corner, int)
    assert corner < 80 if scheme == "dark" else corner > 175
    small = """[...document.querySelectorAll('button, select')].filter((one) => one.offsetParent !== null)
        .map((one) => one.getBoundingClientRect()).filter((box) => box.height < 32).length"""
    assert page.page.evaluate(small) == 0, "a finger hits every button"
    unnamed = """[...document.querySelectorAll('button, select, input, img')].filter((one) => one.offsetParent !== null
        && !(one.textContent.trim() || one.ariaLabel || one.alt || one.labels?.length || one.title))
        .map((one) => one.id)"""
    assert page.page.evaluate(unnamed) == [], "a screen reader has a name for everything"
    assert page.errors == []
    page.context.close()
