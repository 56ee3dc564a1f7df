"""Consoles that cannot print a path or a class name, such as those with old Windows code pages."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import save_photo
from qc_lightning import log as log_command
from qc_lightning import train as train_command
from test_log_dataset import line

TINY = ("data.count=24", "data.image_size=8", "model.hidden=[2]", "trainer=cpu", "trainer.max_epochs=1", "report=false")


def printed(encoding: str, errors: str, command: Callable[[], int]) -> bytes:
    """The output of a command on a console with that encoding."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding, errors, write_through=True)
    with contextlib.redirect_stdout(stream):
        assert command() == 0
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue()


@pytest.mark.parametrize(
    ("encoding", "errors"), [("ascii", "strict"), ("cp1252", "strict"), ("ascii", "surrogateescape")]
)
def test_names_that_the_console_cannot_print(
    encoding: str, errors: str, call: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [*TINY, "trainer.enable_progress_bar=false", "data.classes.incorrect=不良", "hydra.run.dir=日本"]
    out = printed(encoding, errors, lambda: call(train_command.main, *arguments))
    assert rb"\u4e0d\u826f" in out
    assert rb"\u65e5\u672c" in out
    assert "不良" in (tmp_path / "日本/model_card.md").read_text(encoding="utf-8"), "files have the names as they are"


def test_a_name_that_is_no_text(call: Callable[..., int], tmp_path: Path) -> None:
    log, target = line(tmp_path, [save_photo(tmp_path / "a.png", bright=True, seed=1)], {0: "REJECT"}), "rows\udcff.csv"
    out = printed("utf-8", "strict", lambda: call(log_command.main, str(log), "export", str(tmp_path / target)))
    assert rb"rows\udcff.csv" in out
