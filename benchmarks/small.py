"""Datasets of the paper's size from larger ones: `python benchmarks/small.py FOLDER SEEDS [data overrides ...]`.

    python benchmarks/small.py small/ 0,1,2,3,4 data=elpv data.group=module
    python -m qc_lightning.train seed=0 experiment=recommended data=folder data.manifest=small/0.csv

Draws 90 Correct and 90 Incorrect photos for each seed and writes a manifest of them.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from qc_lightning.cli.compose import register
from qc_lightning.config import TrainConfig, parse
from qc_lightning.config.presets import CONF
from qc_lightning.data.catalog import read_catalog

OF_EACH = 90


def main(folder: str, seeds: str, *overrides: str) -> None:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = parse(compose("train", list(overrides)), TrainConfig).data
    photos = read_catalog(config).photos
    Path(folder).mkdir(parents=True, exist_ok=True)
    for seed in map(int, seeds.split(",")):
        draw = np.random.default_rng(seed)
        with (Path(folder) / f"{seed}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "label", "group"))
            for label, name in enumerate(config.classes.names):
                of_label = [photo for photo in photos if photo.label == label]
                for place in sorted(draw.choice(len(of_label), OF_EACH, replace=False)):
                    writer.writerow((of_label[place].path.absolute(), name, of_label[place].group))


if __name__ == "__main__":
    main(*sys.argv[1:])
