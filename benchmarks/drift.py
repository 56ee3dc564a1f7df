"""Detection time and false alarms of drift: `python benchmarks/drift.py RUN [PHOTOS]`.

The run's export measures its photos. Half of the photos that the network was not trained on form the reference, the
other half simulate the line: unchanged (false alarms, over many random halves), and with each corruption of
`qc-lightning robustness` (photos until an alarm).
"""

import sys
from pathlib import Path

import numpy as np
import torch

from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import decode
from qc_lightning.deployment.drift_reference import Measured, measure, measured, reference_of
from qc_lightning.evaluation.corruptions import CORRUPTIONS, corrupt
from qc_lightning.evaluation.evaluation_set import split_photos
from qc_lightning.inference.drift import MIX, DriftMonitor
from qc_lightning.inference.exported import ExportedInspector

CLEAN, STREAMS = 100_000, 3


def halves(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The photos that simulate the line, in undivided groups."""
    names = np.unique(groups)
    return np.isin(groups, rng.permutation(names)[: len(names) // 2])


def main() -> None:
    run, most = Run.open(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200
    inspector = ExportedInspector.load(run.folder / "export" / "inspector.onnx", threads=1)
    photos = split_photos(run)
    trained = measured(inspector, [photo for photo in photos if photo.subset == "train"][:1000])
    others = measured(inspector, [photo for photo in photos if photo.subset != "train"])
    groups, rng = np.array([one.photo.group for one in others]), np.random.default_rng(0)
    threshold = inspector.decision.threshold

    def see(monitor: DriftMonitor, one: Measured, row: int) -> None:
        unusual = [one.novelty] if monitor.reference.novelty else []
        values = (*one.pixels, one.logit, *unusual, *monitor.reference.components.project(one.features))
        monitor.add(row, values, bool(1 / (1 + np.exp(-one.logit)) >= threshold))

    seen, camera, mix, halvings, components = 0, 0, 0, 0, None
    while seen < CLEAN:
        halvings += 1
        line = halves(groups, rng)
        reference = reference_of(
            [*trained, *(one for one, its in zip(others, line, strict=True) if not its)], inspector, components
        )
        assert reference is not None
        components = reference.components
        monitor = DriftMonitor(reference)
        for row, place in enumerate(rng.permutation(np.flatnonzero(line)), 1):
            see(monitor, others[place], row)
        seen += monitor.photos
        camera += any(name != MIX for name in monitor.first)
        mix += MIX in monitor.first
    print(f"{run}: {len(trained)} photos of the training, {len(others)} others; {len(monitor.largest)} statistics")
    print(f"false alarms: {camera} on the camera, {mix} on the mix, in {seen} photos of {halvings} halvings")

    line = np.flatnonzero(halves(groups, rng))
    keep = set(range(len(others))) - set(line.tolist())
    reference = reference_of([*trained, *(others[place] for place in keep)], inspector)
    assert reference is not None
    line = rng.permutation(line)[:most]
    pixels = [decode(Path(others[place].photo.path), inspector.decode) for place in line]
    clean = [1 / (1 + np.exp(-others[place].logit)) >= threshold for place in line]

    def report(name: str, worse: list[Measured]) -> None:
        flips = np.mean([(1 / (1 + np.exp(-a.logit)) >= threshold) != b for a, b in zip(worse, clean, strict=True)])
        first = []
        for _ in range(STREAMS):
            monitor = DriftMonitor(reference)
            for row, place in enumerate(rng.permutation(len(worse))[:200], 1):  # drawn again, 20 photos raise alarms
                see(monitor, worse[place], row)
                if monitor.first:
                    break
            first.append(next(iter(monitor.first.values())).row if monitor.first else None)
        print(f"{name:16}: {flips:6.1%} flip, alarm after {first} photos, {[*monitor.first][:3]}", flush=True)

    report("unchanged", [others[place] for place in line])
    for name, corruption in CORRUPTIONS.items():
        for strength in corruption.strengths:
            worse = []
            for place, photo in zip(line, pixels, strict=True):
                changed = corrupt(torch.from_numpy(photo)[None], name, strength, torch.tensor([int(place)]))[0].numpy()
                worse.append(measure(inspector, others[place].photo, changed))
            report(f"{name:10} {strength:5g}", worse)


if __name__ == "__main__":
    main()
