"""The operator's page speaks the language of its reader: reasons, errors and alarms of the service too."""

# ruff: noqa: F811  # fixtures of other files

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qc_lightning.data.decoding.decode_settings import DecodeSettings, Region
from qc_lightning.inference.drift import MIX, Crossing, in_words
from qc_lightning.inference.escapes import Claim, EscapeMonitor, pick
from qc_lightning.inference.inspection import CameraPhoto, Inspection, decode_photo
from qc_lightning.inference.kept_photos import KeptPhotos
from qc_lightning.inference.log_entry import Entry, Row
from qc_lightning.inference.measures import PIXEL_STATISTICS
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.camera import Camera, CameraGone
from qc_lightning.service.masters import Masters
from qc_lightning.service.service import low_disk
from qc_lightning.service.streaks import Streaks
from test_camera import frames, model  # noqa: F401  # a fixture
from test_report_browser import CHROMIUM
from test_service import Server
from test_service_browser import PAGES, WORDS, Page, browser, server  # noqa: F401  # fixtures

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page with"),
]
TOKEN = "a-token-of-20-letters"
ENGLISH = {"the", "is", "are", "it", "its", "of", "and", "by", "to", "up", "row", "cannot", "with", "limit", "more"}


def spoken_by_the_service(folder: Path, service: Server) -> list[str]:
    """Reasons, errors, alarms and refusals as the service writes them."""
    decision = Decision(0.5, "", (0.2, 0.8), 1.5)
    result = Inspection(None, "0" * 64, Verdict.PASS, 0.1, -2.0, 0.5, 1.0, "", "m", 0.0, "", (90.0,))
    log = VerdictLog(folder / "masters.sqlite")
    texts = [decision.reason(0.5321), decision.reason(0.9, 25400.0), Masters(log.path, 8.0).trouble]
    log.submit(Entry.inspected(replace(result, verdict=Verdict.REJECT), "master good", "top", "", "", 1.0)).result()
    log.close()
    masters = Masters(log.path, None)
    texts += [masters.trouble, masters.held(result).reason, pick(replace(result, reason=texts[0]), 1).reason]
    streaks = Streaks()
    for source in ("", "top", "side") * 3:
        streaks.add(replace(result, measures=(3.0,)), source, None)
    texts += [*streaks.alarms.values(), low_disk(log.path, 1e18)]
    drifted = {name: Crossing(name, 250, 0.523, 0.41, 50) for name in [*PIXEL_STATISTICS, MIX]}
    texts += [f"lid top: {words}" for words in in_words(drifted).values()]
    escapes = EscapeMonitor(Claim(0.01, 0.95))
    for number in range(1, 30):
        picked = Row(number, Entry.inspected(pick(result, 1), "", "", "", "", 1.0), "")
        escapes.add(picked, Row(100, picked.entry.override(number, Verdict.REJECT, "Anna", ""), ""), False)
    texts.append(escapes.trouble)
    photo = frames(folder / "in", 1)[0].read_bytes()
    for broken in (b"", b"no photo", photo[:60], photo[: len(photo) // 2], photo[:-30] + bytes(30)):
        answer = decode_photo(broken, DecodeSettings(8, 8))
        texts += [answer.error, f"cannot be read: {answer.error}"]
    texts.append(decode_photo(photo, DecodeSettings(8, 8, max_pixels=10)).error)
    regions = (Region("top", (0.0, 0.0, 0.5, 1.0)), Region("side", None))
    texts += [decode_photo(CameraPhoto(photo, name), DecodeSettings(8, 8, cameras=regions)).error for name in ("", "x")]
    kept = KeptPhotos(folder / "kept", True, 10**9)
    (folder / "kept" / result.sha256[:2]).touch()
    kept.keep(photo, result)
    texts.append(kept.trouble)
    camera = Camera(str(folder / "in" / "frame_%02d.png"))
    camera.photo(5.0)
    for seconds in (0.4, 0.4, 0.4, 0.0):  # after the last frame it is opened again; at last there is no time
        try:
            camera.photo(seconds)
        except CameraGone as error:
            texts.append(f"no verdict in time: no photo: {error}")
    camera.close()
    requests = [("/v1/inspect", b""), ("/v1/inspect?master=good", bytes(2_100_000))]
    return texts + [service.client.post(path, content=body).json()["detail"] for path, body in requests]


def test_what_the_service_says_is_in_the_language_of_the_page(browser: Any, server: Server, tmp_path: Path) -> None:
    texts = spoken_by_the_service(tmp_path, server)
    assert all(texts)
    code = f"const TEXTS = {(PAGES / 'texts.json').read_text()};{(PAGES / 'texts.js').read_text()}"
    page = browser.new_page()
    for language in ("de", "fr"):
        script = f"(texts) => {{ const language = '{language}'; {code}; return texts.map(local); }}"
        for text, shown in zip(texts, page.evaluate(script, texts), strict=True):
            own = shown.replace(str(tmp_path), "").replace("max_megabytes", "")
            left = set(re.findall(r"\w+", own.lower())) & ENGLISH
            assert not left, f"{text!r} is {shown!r}"
    assert page.evaluate(f"(texts) => {{ const language = 'en'; {code}; return texts.map(local); }}", texts) == texts
    page.close()


def test_a_reason_in_german_and_a_photo_that_is_refused(browser: Any, server: Server, tmp_path: Path) -> None:
    page = Page(browser, server)
    page.page.select_option("#language", "de")
    (tmp_path / "torn.png").write_bytes(frames(tmp_path / "in", 1)[0].read_bytes()[:100])
    page.drop(tmp_path / "torn.png")
    page.expect("#why", "nicht lesbar: unvollständig")
    page.expect("#word", WORDS["de"]["REVIEW"])
    page.expect("#review-why", "nicht lesbar: unvollständig")
    page.errors.clear()  # Chromium notes the status 422
    (tmp_path / "large.png").write_bytes(bytes(2_100_000))
    page.drop(tmp_path / "large.png")
    page.expect("#alarm", f"{WORDS['de']['refused']} größer als 2 MB")
    page.expect("#why", WORDS["de"]["refused"])
    assert page.text("#word") not in WORDS["de"].values(), "not the verdict of the part before"
    assert page.page.locator("#verdict").get_attribute("class") == ""
    page.drop(frames(tmp_path / "in", 1)[0])
    playwright.expect(page.page.locator("#alarm")).to_be_hidden(timeout=10_000)
    playwright.expect(page.page.locator("#strip li")).to_have_count(2)
    page.context.close()


def test_a_service_with_a_token_asks_for_it_before_anything_else(
    browser: Any,
    model: Path,
    tmp_path: Path,
) -> None:
    log = tmp_path / "line.sqlite"
    server = Server(f"model={model}", f"log={log}", "masters=8", QC_LIGHTNING_TOKEN=TOKEN)
    context = browser.new_context(locale="de-DE")
    page = context.new_page()
    try:
        page.goto(server.url)
        form = page.locator("#enter")
        playwright.expect(form).to_contain_text(WORDS["de"]["token"], timeout=10_000)
        for typed, said in (("not this one at all", WORDS["de"]["wrongtoken"]), (f" {TOKEN}", "")):
            page.fill("#token", typed)
            page.keyboard.press("Enter")
            if said:
                playwright.expect(form).to_contain_text(said, timeout=10_000)
        playwright.expect(form).to_be_hidden(timeout=10_000)
        alarm = page.locator("#alarm")
        playwright.expect(alarm).to_contain_text("seit 8 Stunden nicht gezeigt: gut und schlecht", timeout=10_000)
    finally:
        context.close()
        server.stop()
