"""Speed of heat maps relative to forward and backward passes: `python benchmarks/explanation.py RUN [METHOD ...]`.

Both use the run's test photos, 16 per batch, warm and alternating; the median of five rounds is printed. Forward and
backward passes of a frozen network use the complete backbone, as in any Grad-CAM of it.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import decode
from qc_lightning.evaluation.evaluation_set import own_photos
from qc_lightning.explanation.heat import Heat, methods_for
from qc_lightning.inference.inspector import Inspector

PHOTOS, BATCH, ROUNDS = 32, 16, 5
Call = Callable[[torch.Tensor], object]


def heat_of(network: torch.nn.Module, method: str) -> Call:
    heat = Heat(network, method)
    return lambda image: heat(image, [True] * len(image))


def seconds_of(call: Call, batches: tuple[torch.Tensor, ...]) -> float:
    begun = time.perf_counter()
    for image in batches:
        call(image)
    return time.perf_counter() - begun


def main(folder: str, *methods: str) -> None:
    run = Run.open(folder)
    inspector = Inspector.load(run, "auto")
    network = inspector.network.requires_grad_(True)
    paths = [photo.path for photo in own_photos(run, "test").photos][:PHOTOS]
    pixels = np.stack([decode(path, inspector.decode) for path in paths])
    batches = torch.split(torch.from_numpy(pixels).to(inspector.device).float() / 255, BATCH)

    def there_and_back(image: torch.Tensor) -> None:
        network.zero_grad()
        network(image).sum().backward()

    for method in methods or methods_for(network):
        sides: list[tuple[Call, list[float]]] = [(there_and_back, []), (heat_of(network, method), [])]
        for _ in range(1 + ROUNDS):
            for call, times in sides:
                times.append(seconds_of(call, batches))
        back, found = (times[1:] for _, times in sides)
        ratio = statistics.median(a / b for a, b in zip(back, found, strict=True))
        speed = [len(paths) / statistics.median(times) for times in (back, found)]
        print(f"{method}: {speed[1]:.0f} photos/s, forward and backward {speed[0]:.0f}; ratio {ratio:.2f}, target 0.50")


if __name__ == "__main__":
    main(*sys.argv[1:])
