"""Progress bars are for terminals only: in a log they would be hundreds of lines."""

import io
import sys

import pytest

from qc_lightning.core import bars
from qc_lightning.core.bars import Progress


def run(monkeypatch: pytest.MonkeyPatch, terminal: bool, **options: object) -> str:
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress(total=100, desc="photos", **options) as bar:
        for _ in range(100):
            bar.update()
    return stream.getvalue()


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    text = run(monkeypatch, False)
    assert "\r" not in text
    assert text.count("\n") == 1, "the last one says that it is done"
    assert "photos: 100%" in text
    assert run(monkeypatch, False, delay=5.0) == "", "what was quick is not worth a line"
    monkeypatch.setattr(bars, "_FIRST", 0.0)
    assert run(monkeypatch, False).count("\n") == 2, "the first comes soon, the next ones rarely"
    monkeypatch.setattr(bars, "_SECONDS", 0.0)
    assert run(monkeypatch, False).count("\n") == 101


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, True, mininterval=0).count("\r") > 50


def test_what_is_iterated_over_and_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(Progress(range(5), disable=True)) == [0, 1, 2, 3, 4]
    assert stream.getvalue() == ""
    assert list(Progress(range(5))) == [0, 1, 2, 3, 4]
    assert stream.getvalue().count("\n") == 1
