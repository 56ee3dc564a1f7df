"""The ELPV solar cells: real electroluminescence photos with expert labels, from the package `elpv-dataset`.

Deitsch et al., "Automatic classification of defective photovoltaic module cells in electroluminescence images", Solar
Energy 2019; the photos are CC BY-NC-SA 4.0. The dataset does not say which cell came from which module, but its files
stand in the order of the modules, and `MODULE_SIZES` gives the number of cells of each, inferred from that order.
"""

from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path

from qc_lightning.config import ElpvConfig
from qc_lightning.core.errors import UserError
from qc_lightning.data.photo import Photo

# cells of each of the 44 modules in file order; the boundaries between modules 15 and 35 are approximate
MODULE_SIZES = (*[60] * 26, 54, *[60] * 8, 50, 72, 60, 60, 60, 48, 60, 60, 60)


def module_of(cell: int) -> int:
    """Return the module, from 0, of a cell numbered from 1 as in its file name.

    >>> module_of(1), module_of(60), module_of(61), module_of(2624)
    (0, 0, 1, 43)
    """
    return next(module for module, last in enumerate(accumulate(MODULE_SIZES)) if cell <= last)


def read_elpv(config: ElpvConfig) -> list[Photo]:
    """List the cells: Correct at defect probability 0, Incorrect at 1, those between by `config.uncertain`.

    Raises:
        UserError: the package is not installed.
    """
    spec = find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise UserError('data=elpv needs the package elpv-dataset: pip install "qc-lightning[elpv]"')
    folder = Path(spec.origin).parent / "data"
    photos = []
    for line in (folder / "labels.csv").read_text().splitlines():
        name, probability, _kind = line.split()
        uncertain = 0.0 < float(probability) < 1.0
        if uncertain and config.uncertain == "drop":
            continue
        cell = int(Path(name).stem.removeprefix("cell"))
        group = f"module-{module_of(cell):02d}" if config.group == "module" else name
        photos.append(Photo(folder / name, name, int(float(probability) >= 0.5), group))
    return photos
