"""The README and the pages: commands and Python run as written, links lead to existing targets."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import save_photo
from qc_lightning.cli import plain
from qc_lightning.cli.arguments import hydra_arguments
from qc_lightning.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.S)
    for line in block.splitlines()
]
SMALL = ("trainer=cpu", "data.count=20", "data.image_size=16", "trainer.max_epochs=1", "report=false")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ and incoming/ as in the README."""
    folder = tmp_path_factory.mktemp("home")
    for seed in range(40):
        save_photo(
            folder / "photos" / ("Correct", "Incorrect")[seed % 2] / f"{seed}.png", bright=seed % 2 == 1, seed=seed
        )
    (folder / "incoming").mkdir()
    save_photo(folder / "part.png", bright=True, seed=99).rename(folder / "incoming" / "part.jpg")
    return folder


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_own_photos_from_the_shell(home: Path) -> None:
    commands = [shlex.split(line) for line in LINES if line.startswith("qc-lightning ")]
    assert [words[1] for words in commands] == ["train", "predict", "explain"]
    output = [run([sys.executable, "-m", "qc_lightning", *words[1:]], home) for words in commands]
    assert "escape rate" in output[0]
    (record,) = home.glob("outputs/*/*/config.yaml")
    assert "command: qc-lightning train photos/\n" in record.read_text(), "what the report's advice begins with"
    assert "1 REJECT" in output[1]
    assert len((home / "verdicts.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_own_photos_from_python(home: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert "Verdict.REJECT" in run([sys.executable, "-c", block], home)


@pytest.mark.slow
def test_the_papers_recipe_runs_as_written(home: Path) -> None:
    """With few small photos for one epoch; the last line uses the run of the first."""
    commands = [shlex.split(line)[1:] for line in LINES if line.startswith("python -m qc_lightning.train")]
    assert len(commands) == 4
    for words in commands:
        if "trainer=gpu" not in words:  # the tests of GPUs have it
            run([sys.executable, *words, *(() if "resume=latest" in words else SMALL)], home)


def test_set_up_is_the_makefiles() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    asked = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert asked == {"train", "test"} <= targets


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_the_pages_have_settings_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for block in re.findall(r"```bash\n(.*?)```", text, re.S):
        for line in block.splitlines():
            call = re.search(r"(qc-lightning |python -m qc_lightning\.)(\w+)(.*)", line.partition(" #")[0])
            if call is None or call[2] not in COMMANDS:
                continue
            command = COMMANDS[call[2]]
            words = shlex.split(re.sub(r"<[^>]*>", "x", call[3]))
            if command.plain:
                plain._parse(words, command.schema, "file action output" if command.name == "log" else command.path)
            else:
                hydra_arguments(command, words, front_door=call[1] == "qc-lightning ")


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 900
