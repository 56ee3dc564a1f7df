"""Import torchmetrics without the parts that a training never uses, which take a third of Lightning's import time.

torchmetrics loads torchvision, scipy.signal and matplotlib for metrics of images and sound. Only commands call this,
which own their process: in a user's process those metrics must stay available.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

_FLAGS = ("_TORCHVISION_AVAILABLE", "_MATPLOTLIB_AVAILABLE", "_SCIPI_AVAILABLE")
_SIGNAL = "scipy.signal"


def import_torchmetrics() -> None:
    """Import torchmetrics as if torchvision, matplotlib and scipy.signal were not installed.

    They can be imported as usual afterwards. If torchmetrics is organised differently, it is imported as usual.
    """
    if "torchmetrics" in sys.modules:
        return
    spec = importlib.util.find_spec("torchmetrics")
    if spec is None or spec.submodule_search_locations is None:
        return
    # to import the flags' module before the package, its parent packages must exist without their content
    root = next(iter(spec.submodule_search_locations))
    for name, path in (("torchmetrics", root), ("torchmetrics.utilities", f"{root}/utilities")):
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = [path]
    try:
        flags = importlib.import_module("torchmetrics.utilities.imports")
    except ImportError:
        flags = ModuleType("none")
    finally:
        del sys.modules["torchmetrics"], sys.modules["torchmetrics.utilities"]
    for flag in _FLAGS:
        if hasattr(flags, flag):
            setattr(flags, flag, False)
    stand_in = None
    if _SIGNAL not in sys.modules:
        stand_in = sys.modules[_SIGNAL] = ModuleType(_SIGNAL)
        vars(stand_in)["hamming"] = None  # torchmetrics adds it where it is missing
    try:
        importlib.import_module("torchmetrics")
    finally:
        if stand_in is not None:
            del sys.modules[_SIGNAL]
            vars(sys.modules.get("scipy", stand_in)).pop("signal", None)
