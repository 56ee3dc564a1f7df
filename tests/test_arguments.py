"""Command lines of users: paths with any characters, the main command, typing errors."""

import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from tests.conftest import save_photo

from qc_lightning import __main__ as front
from qc_lightning import predict as predict_command
from qc_lightning.cli.arguments import hydra_arguments
from qc_lightning.cli.commands import COMMANDS
from qc_lightning.cli.compose import compose
from qc_lightning.cli.help import help_of
from qc_lightning.config.literal import literal, quoted
from qc_lightning.config.record import RunRecord
from qc_lightning.config.settings import settings_of
from qc_lightning.core.run import Run

NASTY = (
    "photos (2024)", "Prüfung", unicodedata.normalize("NFD", "Prüfung"), "A&B", "lot #3", "o'brien", "photos=1",
    "seed=1", "photos[1]", "lot~1", "~lot", "a,b", "{a}", "a:b", "a${b}", "$HOME", "${oc.env:HOME}",
    'say "x"', "back\\", "a\\'b", "a b", " a", "@x", "null", "true", "1_0", "1e0", "日本", "a\nb", "*", "%d", "'q'",
    "-m", "+a", "!x", "a\\${b}",
)  # fmt: skip
TINY = (
    "data.image_size=16",
    "model.hidden=[4]",
    "trainer.max_epochs=1",
    "report=false",
    "trainer.enable_progress_bar=false",
)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assume(text != "???")  # OmegaConf's marker of a missing value
    value = OverridesParser.create().parse_override(f"key={quoted(text)}").value()
    assert OmegaConf.create({"key": value}).key == text
    if "${" not in text:
        assert quoted(text) == QuotedString(text, Quote.single).with_quotes()


def test_quotes_of_the_users_own_stay_and_commas_separate_in_a_sweep() -> None:
    assert literal("'a b'", exists=False, swept=False) == "'a b'"
    assert literal("'a b'", exists=True, swept=False) == quoted("'a b'")
    assert literal("a,b", exists=False, swept=False) == "'a,b'"
    assert literal("a,b (c)", exists=False, swept=True) == "'a','b (c)'"
    assert literal("choice(a,b)", exists=False, swept=True) == "choice(a,b)"


def photos(root: Path) -> Path:
    for seed in range(8):
        save_photo(root / "Correct" / f"c{seed}.png", bright=False, seed=seed, size=16)
        save_photo(root / "Incorrect" / f"i{seed}.png", bright=True, seed=100 + seed, size=16)
    return root


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("way", ["qc-lightning", "python -m"])
def test_a_path_is_a_path(name: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths reach a command's settings unchanged."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    words = [name] if way == "qc-lightning" and not name.startswith("seed=") else [f"data.root={name}"]
    if name == "null":
        words = ["data.root='null'"] if way == "python -m" else words
    overrides = hydra_arguments(COMMANDS["train"], [*words, "model=mlp"], way == "qc-lightning")
    config = compose(overrides)
    assert (config.data.source, config.data.root) == ("folder", name)
    assert config.model.name == "mlp"


@pytest.mark.parametrize("name", ["a${b}, 'x' (1)=[2] #~&", "Prüfung\\", "${oc.env:HOME}"])
def test_nasty_names_from_photos_to_verdicts(
    name: str,
    call: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Train, resume, evaluate and predict in folders of that name."""
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / name / "photos")
    run = f"{name}/run"
    classes = ["data.classes.correct=Correct", "model=mlp"]
    code = call(front.main, "train", f"{name}/photos", *TINY, *classes, f"hydra.run.dir={quoted(run)}")
    assert code == 0, capsys.readouterr()
    assert RunRecord.read(Run(Path(run))).data.root == f"{name}/photos"
    assert RunRecord.read(Run(Path(run))).command.startswith("qc-lightning train ")
    for words in (
        ["train", f"resume={run}", "trainer.max_epochs=2"],
        ["evaluate", f"run={run}"],
        ["evaluate", f"{name}/photos", f"run={run}", "name=again"],
        ["predict", f"{name}/photos/Correct", f"run={run}", f"output={name}/verdicts.csv"],
    ):
        assert call(front.main, *words) == 0, capsys.readouterr()
    assert len((tmp_path / name / "verdicts.csv").read_text().splitlines()) == 9


@pytest.mark.parametrize(
    "names", [("true", "false"), ("1_0", "1e0"), ("null", "~"), ("良品", "不良"), ("a, b", "${x}")]
)
def test_class_names_are_taken_literally(names: tuple[str, str]) -> None:
    words = [f"data.classes.correct={names[0]}", f"data.classes.incorrect={names[1]}"]
    assert compose(hydra_arguments(COMMANDS["train"], words, front_door=False)).data.classes.names == names


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        (["train", "photos/"], ["data=folder", "experiment=recommended", "data.root='photos/'"]),
        (["train", "photos/", "model=mlp"], ["data=folder", "data.root='photos/'", "model=mlp"]),
        (["train", "photos/", "experiment=paper"], ["data=folder", "data.root='photos/'", "experiment=paper"]),
        (["train", "labels.csv"], ["data=folder", "experiment=recommended", "data.manifest='labels.csv'"]),
        (["train", "seed=3"], ["seed=3"]),
        (["train", "trainer.precision=16", "hydra/launcher=ray"], ["trainer.precision=16", "hydra/launcher=ray"]),
        (["predict", "incoming/"], ["source='incoming/'"]),
        (["predict", "in/*=3.png", "run=r"], ["source='in/*=3.png'", "run='r'"]),
        (["evaluate", "monday/", "name=m"], ["data.root='monday/'", "name='m'"]),
        (["explain", "a.png"], ["source='a.png'"]),
        (["latency", "p/"], ["source='p/'"]),
        (["train", "-m", "p/", "model=mlp", "optim.lr=1,2"],
         ["-m", "data=folder", "data.root='p/'", "model=mlp", "optim.lr=1,2"]),
    ],
)  # fmt: skip
def test_the_front_door(words: list[str], overrides: list[str]) -> None:
    assert hydra_arguments(COMMANDS[words[0]], words[1:], front_door=True) == overrides


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "there is no command 'trian' (did you mean train?)"),
        (["photos/"], "there is no command 'photos/'; qc-lightning without a command lists them"),
        (["train", "--root", "photos"], "there is no option --root (did you mean data.root?): settings are given as"),
        (["train", "help"], "data.root: expected a folder with Correct/ and Incorrect/ in it, there is no folder"),
        (["train", "nowhere/"], "data.root: expected a folder with Correct/ and Incorrect/ in it, there is no folder"),
        (["train", "optim.lrr=1"], "there is no setting 'optim.lrr' (did you mean optim.lr?)"),
        (["train", "a", "b"], "expected one path, got 2: a, b"),
        (["train", "a", "data=parts"], "data.root names photos of your own: leave out data=parts"),
        (["train", "data.manifest=a.csv", "data=elpv"], "data.manifest names photos of your own: leave out data=elpv"),
        (["predict", "x", "-m"], "predict has no sweeps: leave out -m"),
        (["cache", "x"], "expected key=value, got 'x'"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], line: str, call: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert call(front.main, *words) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert line in error
    assert list(tmp_path.iterdir()) == []


def test_a_sibling_says_how_a_path_is_given(
    call: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(predict_command.main, "incoming/") == 2
    assert "give source=incoming/, or call qc-lightning predict incoming/" in capsys.readouterr().err


def test_help_explains_every_setting(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(front.main) == 0
    listed = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", listed, re.MULTILINE)
        assert call(front.main, name, "--help") == 0
        page = capsys.readouterr().out
        if command.plain:
            continue
        for setting in settings_of(command.schema):
            if not setting.parent and setting.name not in ("experiment", "trainer"):
                assert setting.comment, f"{setting.name} has no comment"
                assert re.search(rf"^  {re.escape(setting.name)}=.*", page, re.MULTILINE), setting.name
        assert "$" not in page.split("Settings, given")[0]
    calls = [line for line in help_of(COMMANDS["train"]).splitlines() if line.startswith("  ")]
    assert calls[0].startswith("  qc-lightning train photos/ ")
    assert "experiment=recommended" in calls[1]


def test_answers_come_without_torch_or_hydra(tmp_path: Path) -> None:
    script = "import sys; sys.argv = ['qc-lightning', *sys.argv[1:]]\nfrom qc_lightning.__main__ import main\n"
    script += "try: main()\nfinally: print({'torch', 'hydra', 'omegaconf'} & set(sys.modules))"
    for words in ([], ["train", "--help"], ["predict", "--help"], ["train", "--root"], ["train", "lr=1"]):
        done = subprocess.run([sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "set()"


def test_two_trainings_in_one_second_get_a_folder_each(tmp_path: Path) -> None:
    """As two users start them."""
    photos(tmp_path / "photos")
    environment = {**os.environ, "QC_LIGHTNING_CACHE": str(tmp_path / "cache")}
    command = [
        sys.executable,
        "-m",
        "qc_lightning",
        "train",
        "photos",
        "model=mlp",
        *TINY,
        "hydra.run.dir=outputs/1/run",
    ]
    both = [subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    errors = [process.communicate(timeout=300)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], errors
    assert sum("already holds a run" in text for text in errors) == 1
