"""A pass/fail inspector from two folders of photos, Correct and Incorrect.

    from qc_lightning import Inspector, fit

    run = fit("photos/")
    inspector = Inspector.load(run)
    inspector("incoming/0001.jpg").verdict

Importing this package loads nothing else; each name brings what it needs when it is first used.

>>> import qc_lightning
>>> sorted(qc_lightning.__all__)
['Classifier', 'Inspector', 'PhotoDataModule', 'Run', '__version__', 'evaluate_run', 'fit']
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qc_lightning.core.run import Run
    from qc_lightning.data.datamodule import PhotoDataModule
    from qc_lightning.inference.inspector import Inspector
    from qc_lightning.python import evaluate_run, fit
    from qc_lightning.training.classifier import Classifier

    __version__: str

__all__ = ["Classifier", "Inspector", "PhotoDataModule", "Run", "__version__", "evaluate_run", "fit"]

_HOMES = {
    "Classifier": "training.classifier",
    "Inspector": "inference.inspector",
    "PhotoDataModule": "data.datamodule",
    "Run": "core.run",
    "evaluate_run": "python",
    "fit": "python",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("qc-lightning")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
