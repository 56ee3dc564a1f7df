"""The paper's recipe in Keras, with its input pipeline tuned (cache and prefetch).

`python benchmarks/keras_peer.py ROOT`, ROOT as for naive.py.
"""

import argparse
from pathlib import Path

import keras
import tensorflow as tf


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    asked = parser.parse_args()
    keras.utils.set_random_seed(0)

    def photos(subset: str, shuffle: bool) -> tf.data.Dataset:
        of_subset = keras.utils.image_dataset_from_directory(
            asked.root / subset, label_mode="binary", image_size=(64, 64), batch_size=32, shuffle=shuffle
        )
        return of_subset.cache().prefetch(tf.data.AUTOTUNE)

    model = keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.RandomFlip(),
            keras.layers.RandomRotation(15 / 360),
            keras.layers.RandomZoom(0.1),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    figures = ["accuracy", keras.metrics.Precision(), keras.metrics.Recall(), keras.metrics.AUC()]
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=figures)
    model.fit(photos("train", True), epochs=asked.epochs, verbose=2)
    print(model.evaluate(photos("test", False), verbose=0, return_dict=True))


if __name__ == "__main__":
    main()
