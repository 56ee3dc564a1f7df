"""Hydra finds sweepers in this namespace only: the way in to `qc_lightning.sweep`.

It is imported at the start of every Hydra program of the environment, so it imports nothing heavy.
"""

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

ConfigStore.instance().store(
    group="hydra/sweeper",
    name="qc_lightning",
    node={"_target_": "hydra_plugins.qc_lightning_sweeper.QcLightningSweeper"},
    provider="qc_lightning",
)


class QcLightningSweeper(Sweeper):
    """What `python -m qc_lightning.train -m ...` runs."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over; the launcher is built once the sweep's folder is known."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs that the command line and the preset ask for; return their records."""
        from qc_lightning.cli.errors import one_line
        from qc_lightning.sweep.run_sweep import run_sweep

        assert self.hydra_context is not None
        assert self.config is not None
        return run_sweep(self.hydra_context, self.task_function, self.config, arguments, one_line)
