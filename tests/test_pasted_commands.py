"""Every command shown to a person is valid: its settings compose, and its changes take effect."""

import html
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import save_photo
from qc_lightning import certify, decide, evaluate, release, releases, robustness
from qc_lightning.cli.arguments import hydra_arguments
from qc_lightning.cli.commands import COMMANDS
from qc_lightning.cli.compose import composed
from qc_lightning.config import parse

Train = Callable[..., tuple[int, Path, str]]
Call = Callable[..., int]
BEGIN = r"(?:qc-lightning|python -m qc_lightning\.)"


def on_console(text: str) -> set[str]:
    """Commands are at the end of a line."""
    return {match[0] for match in re.finditer(rf"{BEGIN}\s?\w+ .*$", text, re.MULTILINE)}


def on_page(page: str) -> set[str]:
    """Commands are in <code>, in <pre> or in the text that a button copies, nowhere else."""
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    shown = re.findall(r"<(code|pre)\b[^>]*>(.*?)</\1>", page, re.DOTALL)
    left = re.sub(r"<(code|pre)\b[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    names = "|".join(COMMANDS)
    assert not re.search(rf"qc-lightning (?:{names})\b", html.unescape(re.sub(r"<[^>]*>", "", left)))
    texts = [html.unescape(re.sub(r"<[^>]*>", "", inside)).strip() for _, inside in shown]
    return {text for text in texts if re.match(BEGIN, text) and "\n" not in text}


def check(command: str) -> tuple[str, list[str]]:
    """Name and arguments of a command, whose settings must compose."""
    words = shlex.split(command)
    if words[0] == "qc-lightning":
        name, words, front_door = words[1], words[2:], True
    else:
        name, words, front_door = words[2].removeprefix("qc_lightning."), words[3:], False
    if name == "report.page":
        assert Path(words[0]).is_dir()
        return name, words
    cfg = composed(name, hydra_arguments(COMMANDS[name], words, front_door))
    from omegaconf import open_dict

    with open_dict(cfg):
        del cfg["hydra"]
    parse(cfg, COMMANDS[name].schema)
    return name, words


@pytest.fixture
def run(train: Train, tmp_path: Path) -> tuple[Path, str]:
    """A weak run on few photos, in folders with a space and a quote, so that it gets much advice."""
    root = tmp_path / "it's mine"
    for seed in range(40):
        # every fourth photo looks like the other class
        save_photo(root / "Correct" / f"c{seed % 20:02d}_{seed // 20}.png", bright=seed % 4 == 0, seed=seed)
        save_photo(root / "Incorrect" / f"i{seed % 20:02d}_{seed // 20}.png", bright=seed % 4 != 0, seed=100 + seed)
    folder = tmp_path / "work" / "outputs" / "line 3" / "run"
    quoted = str(root).replace("'", "\\'")
    easy = ["data=folder", f"data.root='{quoted}'", "data.image_size=16", "model.hidden=[]", "data.split.val=0.3"]
    code, _, output = train(*easy, "trainer.max_epochs=15", "optim.lr=0.01", f"hydra.run.dir='{folder}'", folder=folder)
    assert code == 0, output
    return folder, output


def test_every_command_that_is_shown_works_when_pasted(
    run: tuple[Path, str], tmp_path: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = run
    own = f"run='{folder}'"
    qualification = tmp_path / "work" / "qualification"
    for seed in range(40):
        save_photo(qualification / "Correct" / f"c{seed:02d}.png", bright=False, seed=1000 + seed)
        save_photo(qualification / "Incorrect" / f"i{seed:02d}.png", bright=True, seed=2000 + seed)
    (tmp_path / "work" / "incoming").mkdir()

    commands = on_console(output)
    assert call(evaluate.main, own) == 0
    assert call(certify.main, own, f"data.root={qualification}", "escape_rate=0.01") == 1
    assert call(decide.main, own, "threshold=0.4", "reason=a try") == 0
    assert call(release.main, own, "name=line-3", "force=true") == 0
    assert call(release.main, own, "name=line-3", "decision=1", "force=true") == 0
    assert call(releases.main) == 0
    assert call(robustness.main, own, "photos=8") == 0
    commands |= on_console(capsys.readouterr().out)
    page = on_page((folder / "report.html").read_text())
    assert {check(command)[0] for command in page} >= {"train", "certify", "evaluate", "robustness"}
    assert {check(command)[0] for command in commands} >= {"evaluate", "release", "certify", "predict"}

    mains = {"decide": decide.main, "evaluate": evaluate.main, "release": release.main}
    for command in sorted(page | commands):
        name, words = check(command)
        if name in mains and "new_photos/" not in words:
            force = ["force=true"] if name == "release" else []
            literal = hydra_arguments(COMMANDS[name], words, True)
            assert call(mains[name], *literal, *force) == 0, f"{command}: {capsys.readouterr().err}"
