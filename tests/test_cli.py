"""Mistakes on the command line: one line, exit code 2, no run folder."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from qc_lightning.config.presets import CONF

Train = Callable[..., tuple[int, Path, str]]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["optim.lrr=1"], "error: there is no setting 'optim.lrr' (did you mean optim.lr?)"),
        (
            ["data.classes=[good,bad]"],
            "error: data.classes: expected data.classes.correct=, data.classes.incorrect=, got a list",
        ),
        (["model.pool={a:1}"], "error: model.pool: expected a list, got settings"),
        (["lr=1"], "error: there is no setting 'lr' (did you mean optim.lr?)"),
        (["+optim.lrr=1"], "error: there is no setting 'optim.lrr' (did you mean optim.lr?)"),
        (["modle=mlp"], "error: there is no setting 'modle' (did you mean model"),
        (["trainer.max_epoch=3"], "did you mean trainer.max_epochs"),
        (["+trainer.epochs=3"], "error: trainer.epochs: lightning.Trainer has no such flag (did you mean"),
        (["optim.lr=fast"], "error: optim.lr: expected a number, got 'fast'"),
        (["optim.lr=-1"], "error: optim.lr: expected a step size above 0, got -1.0"),
        (["data.batch_size=0"], "error: data.batch_size: expected at least 1, got 0"),
        (["data.image_size=4.5"], "error: data.image_size: expected an integer, got 4.5"),
        (["data.split.test=1"], "error: data.split.test: expected a share between 0 and 1, got 1.0"),
        (["model=mpl"], "error: model: expected one of"),
        (["model=mpl"], "got 'mpl' (did you mean mlp?)"),
        (["data=folder"], "error: data=folder needs your photos: give data.root=photos/ or data.manifest=labels.csv"),
        (["data=folder", "data.root=nowhere"], "error: data.root: expected a folder with Correct/ and Incorrect/"),
        (["seed"], "error: seed: expected a value, seed=..."),
        (["model=timm"], "error: model.name: expected a value, got none: give model.name=..."),
        (["data=base"], "error: data: expected one of elpv, folder, parts, got 'base'"),
        (
            ["augment=[base]"],
            "error: augment: expected one of light, mixup, none, paper, randaugment, trivial, got 'base",
        ),
        (["data.group=module"], "error: data.group=module: only data=elpv has modules, got data=parts"),
        (["experiment=recommended", "augment=trivial"], "error: augment.policy=trivial: the augmented copies that"),
        (["data.root=x", "data=elpv"], "error: data.root names photos of your own: leave out data=elpv"),
        (["data.root=nowhere"], "error: data.root: expected a folder with Correct/ and Incorrect/ in it, there is no"),
        (["trainer=gpu"], "error: trainer.accelerator=gpu: no CUDA GPU is visible here; use trainer=cpu"),
        (["trainer.precision=17"], "error: trainer: "),
        (["resume=nowhere"], "error: resume: expected a run folder"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(train: Train, arguments: list[str], line: str) -> None:
    import torch

    if "trainer=gpu" in arguments and torch.cuda.is_available():
        pytest.skip("a GPU is here")
    code, run, output = train(*arguments)
    errors = [text for text in output.splitlines() if text.startswith("error: ")]
    assert code == 2
    assert len(errors) == 1
    assert line in errors[0]
    assert "Traceback" not in output
    assert not run.exists(), "nothing half-written"


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["optim.lr=x"], ["optim.lr=-1"]])
def test_quick_answers_import_no_torch(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['train', *sys.argv[1:]]\n"
        "from qc_lightning.train import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, 'lightning' in sys.modules)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False False"
    assert time.perf_counter() - started < 5  # 0.4 s on an idle machine; the bound is for a busy one


def test_every_shipped_config_composes(train: Train) -> None:
    """Each option of each group matches the schema."""
    for path in sorted(CONF.glob("*/*.yaml")):
        if path.stem == "base" or path.parent.name == "hydra":
            continue
        extra = ["data.root=x"] if path.stem == "folder" else []
        code, _, output = train(f"{path.parent.name}={path.stem}", *extra, "--cfg", "job")
        assert code == 0, output
        assert OmegaConf.create(output).data.image_size >= 8


@pytest.mark.parametrize(
    "words", [["predict"], ["train"], ["audit"], ["evaluate", "run="], ["log"], ["train", "resume="]]
)
def test_a_name_too_long_for_any_file_is_one_line(words: list[str], tmp_path: Path) -> None:
    command, *setting = words
    path = "".join(setting) + "é" * 300
    done = subprocess.run(
        [sys.executable, "-m", "qc_lightning", command, path], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().count("\n") == 0


@pytest.mark.parametrize("words", [["gauge", "verdicts.csv"], ["serve", "--help"]])
def test_a_reader_that_stops_early_ends_the_command_without_a_traceback(words: list[str], tmp_path: Path) -> None:
    rows = "".join(f"{part},{name},1,PASS\n" for part in range(30) for name in "abc")
    (tmp_path / "verdicts.csv").write_text(f"part,appraiser,trial,verdict\n{rows}")
    command = [sys.executable, "-m", "qc_lightning", *words]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=120)
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
    assert process.returncode in (0, 141)
