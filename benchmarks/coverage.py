"""How often the intervals of metrics.json hold the true figure: `python benchmarks/coverage.py [repeats] [shape ...]`.

Photos are simulated with a known AUROC: scores of Correct photos are normal, those of Incorrect ones lie higher and are
as wide (equal), twice as wide (wide) or partly like the Correct ones and else far above (mixed). Several photos of one
part share half of their variance. The true average precision is that of 300,000 photos with the same share of
Incorrect ones, the true balanced accuracy and F1 are those at a threshold midway between the two classes.
"""

import math
import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from qc_lightning.metrics.intervals import f1_interval, mean_of, proportion, ranking

SIZES = ((8, 60), (20, 20), (20, 200), (60, 60), (200, 200))
AUROCS = (0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
SHAPES = ("equal", "wide", "mixed")
WIDTH = {"equal": 1.0, "wide": 2.0}


def draw(
    rng: np.random.Generator, bad: int, good: int, auroc: float, shape: str, photos: int
) -> npt.NDArray[np.float64]:
    """Scores [bad + good], the Incorrect ones first; `photos` neighbours of one class are of one part."""

    def noise(count: int) -> npt.NDArray[np.float64]:
        if photos == 1:
            return rng.normal(size=count)
        part = np.repeat(rng.normal(size=-(-count // photos)), photos)[:count]
        return (part + rng.normal(size=count)) / math.sqrt(2)

    high = noise(bad)
    if shape == "mixed":
        alike = np.repeat(rng.random(-(-bad // photos)) < 2 * (1 - auroc), photos)[:bad]
        high = np.where(alike, high, 30 + high)
    else:
        high = WIDTH[shape] * high + norm.ppf(auroc) * math.hypot(1, WIDTH[shape])
    return np.concatenate([high, noise(good)])


def coverage(
    bad: int, good: int, auroc: float, shape: str = "equal", photos: int = 1, repeats: int = 1000, seed: int = 0
) -> dict[str, float]:
    """Share of 95% intervals that hold the true figure, in percent, by figure."""
    rng = np.random.default_rng(seed)
    n = bad + good
    many = 300_000 // n
    label = np.arange(n * many) < bad * many
    average = ranking(draw(rng, bad * many, good * many, auroc, shape, 1), label).average_precision
    label = np.arange(n) < bad
    group = None if photos == 1 else np.where(label, np.arange(n) // photos, n + (np.arange(n) - bad) // photos)
    cut = {"mixed": 1.0}.get(shape, norm.ppf(auroc) * math.hypot(1, WIDTH.get(shape, 1.0)) / 2)
    recall, specificity = _rates(cut, auroc, shape)
    overkill, escapes = good * (1 - specificity), bad * (1 - recall)
    caught = bad * recall
    truth = {"auroc": auroc, "average_precision": average, "balanced_accuracy": (recall + specificity) / 2}
    truth["f1"] = 2 * caught / (2 * caught + overkill + escapes)
    held: Counter[str] = Counter()
    for _ in range(repeats):
        score = draw(rng, bad, good, auroc, shape, photos)
        found = ranking(score, label, group)
        flagged = score >= cut
        rates = [hit[of] for hit, of in ((flagged, label), (~flagged, ~label))]
        ends = [
            proportion(hit, None if group is None else group[of])
            for hit, of in zip(rates, (label, ~label), strict=True)
        ]
        low_high = {
            "auroc": found.auroc_interval,
            "average_precision": found.average_precision_interval,
            "balanced_accuracy": mean_of(rates[0].mean(), rates[1].mean(), *ends),
            "f1": f1_interval(flagged, label, group),
        }
        held.update(name for name, (low, high) in low_high.items() if low <= truth[name] <= high)
    return {name: 100 * held[name] / repeats for name in truth}


def _rates(cut: float, auroc: float, shape: str) -> tuple[float, float]:
    specificity = float(norm.cdf(cut))
    if shape == "mixed":
        return 1 - 2 * (1 - auroc) * specificity, specificity
    width = WIDTH[shape]
    return float(norm.sf((cut - norm.ppf(auroc) * math.hypot(1, width)) / width)), specificity


def table(repeats: int, shapes: tuple[str, ...]) -> Iterator[str]:
    """Lines of Markdown, one a setting."""
    yield "| scores | photos a part | Incorrect + Correct | true AUROC | AUROC | AP | balanced accuracy | F1 |"
    yield "|---|---|---|---|---|---|---|---|"
    for shape in shapes:
        for photos in (1, 2):
            for bad, good in SIZES:
                for auroc in AUROCS:
                    held = coverage(bad, good, auroc, shape, photos, repeats)
                    cells = " | ".join(f"{value:.1f}%" for value in held.values())
                    yield f"| {shape} | {photos} | {bad} + {good} | {auroc} | {cells} |"


if __name__ == "__main__":
    for line in table(int((sys.argv[1:] or ["1000"])[0]), tuple(sys.argv[2:]) or SHAPES):
        print(line, flush=True)
