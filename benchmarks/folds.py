"""Split all photos into five test folds, with groups kept together: `python benchmarks/folds.py FOLDER [data ...]`.

    python benchmarks/folds.py folds/ data=elpv data.group=module
    python -m qc_lightning.train -m experiment=recommended data=folder \
        data.manifest=folds/0.csv,folds/1.csv,folds/2.csv,folds/3.csv,folds/4.csv

Writes a manifest for each fold of scikit-learn's StratifiedGroupKFold(5), with the fold as the test part.
"""

import csv
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from sklearn.model_selection import StratifiedGroupKFold

from qc_lightning.cli.compose import register
from qc_lightning.config import TrainConfig, parse
from qc_lightning.config.presets import CONF
from qc_lightning.data.catalog import read_catalog


def main(folder: str, *overrides: str) -> None:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = parse(compose("train", list(overrides)), TrainConfig).data
    photos = read_catalog(config).photos
    labels, groups = [photo.label for photo in photos], [photo.group for photo in photos]
    Path(folder).mkdir(parents=True, exist_ok=True)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for number, (_, test) in enumerate(folds.split(photos, labels, groups)):
        with (Path(folder) / f"{number}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "label", "group", "subset"))
            held = set(test.tolist())
            for place, photo in enumerate(photos):
                subset = "test" if place in held else "train"
                writer.writerow((photo.path.absolute(), config.classes.names[photo.label], photo.group, subset))


if __name__ == "__main__":
    main(*sys.argv[1:])
