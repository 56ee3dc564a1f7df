"""Every flag of lightning.Trainer works as `trainer.<flag>=...`, or is refused in one line before work starts."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.pytorch import Trainer

pytestmark = pytest.mark.slow

Train = Callable[..., tuple[int, Path, str]]
TINY = ("data.count=24", "data.image_size=8", "model.hidden=[2]", "data.batch_size=8", "trainer=cpu", "report=false")
WORKS = {
    "accelerator": ["cpu"],
    "strategy": ["auto"],
    "devices": ["1"],
    "num_nodes": ["1"],
    "precision": ["bf16-mixed", "32-true", "32"],
    "fast_dev_run": ["true"],
    "max_epochs": ["1"],
    "min_epochs": ["2"],
    "max_steps": ["1", "3"],
    "min_steps": ["2"],
    "max_time": ["00:00:01:00"],
    "limit_train_batches": ["1", "0.5"],
    "limit_val_batches": ["0", "1"],
    "val_check_interval": ["0.5", "1"],
    "check_val_every_n_epoch": ["2"],
    "num_sanity_val_steps": ["1"],
    "log_every_n_steps": ["1"],
    "enable_checkpointing": ["true"],
    "enable_progress_bar": ["true"],
    "enable_model_summary": ["true"],
    "accumulate_grad_batches": ["2"],
    "gradient_clip_val": ["1"],
    "gradient_clip_algorithm": ["value"],
    "deterministic": ["true"],
    "benchmark": ["true"],
    "inference_mode": ["false"],
    "profiler": ["simple"],
    "detect_anomaly": ["true"],
    "barebones": ["false"],
    "sync_batchnorm": ["true"],
    "reload_dataloaders_every_n_epochs": ["1"],
    "default_root_dir": ["elsewhere"],
    "enable_autolog_hparams": ["false"],
}
REFUSED = {
    "accelerator": ["abacus"],
    "strategy": ["none_such"],
    "devices": ["0", "99"],
    "precision": ["64-true", "16-true", "17"],
    "max_epochs": ["0"],
    "max_steps": ["0"],
    "limit_train_batches": ["0", "-1"],
    "limit_test_batches": ["1"],
    "limit_predict_batches": ["1"],
    "overfit_batches": ["1"],
    "enable_checkpointing": ["false"],
    "gradient_clip_algorithm": ["sideways"],
    "use_distributed_sampler": ["true"],
    "profiler": ["none_such"],
    "barebones": ["true"],
    "plugins": ["none_such"],
    "model_registry": ["somewhere"],
    "callbacks": ["[]"],
    "logger": ["false"],
}


def test_no_flag_is_forgotten() -> None:
    assert set(inspect.signature(Trainer).parameters) == WORKS.keys() | REFUSED.keys()


@pytest.mark.parametrize(("flag", "value"), [(flag, value) for flag, values in WORKS.items() for value in values])
def test_the_flag_reaches_the_trainer(train: Train, flag: str, value: str) -> None:
    code, run, output = train(*TINY, "trainer.max_epochs=2", f"trainer.{flag}={value}")
    assert code == 0, output
    assert json.loads((run / "metrics.json").read_text())["test"]["n"] > 0
    assert (run / "history.csv").is_file()


def test_a_flag_that_does_not_suit_the_photos(train: Train) -> None:
    code, _, output = train(*TINY, "trainer.val_check_interval=1000")
    assert code == 2
    assert "error: trainer: `val_check_interval` (1000) must be less than or equal to" in output


@pytest.mark.parametrize(("flag", "value"), [(flag, value) for flag, values in REFUSED.items() for value in values])
def test_the_flag_is_refused_before_anything_is_written(train: Train, flag: str, value: str) -> None:
    code, run, output = train(*TINY, f"trainer.{flag}={value}")
    errors = [line for line in output.splitlines() if line.startswith("error: trainer")]
    assert code == 2, output
    assert len(errors) == 1
    assert not run.exists(), "nothing half-written"
