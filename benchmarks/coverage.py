"""Coverage of the intervals in metrics.json: `python benchmarks/coverage.py [repeats] [shape ...]`.

Photos are simulated with a known AUROC: scores of Correct photos have the noise of a shape, those of Incorrect photos
are shifted up. Photos of one part share half of their variance. The true values are those of 200,000 photos with the
same fraction of Incorrect photos; balanced accuracy and F1 use a threshold midway between the classes.

The forms and constants of AUROC's and average precision's interval were chosen on normal scores whose Incorrect photos
spread as the Correct ones (`equal`), twice (`wide`) or half as much (`narrow`). `skewed` (chi-squared with 3 degrees of
freedom: a long tail of unusual Correct parts), `heavy` (Student's t with 3), `rounded` (normal, in steps of a quarter:
ties) and `mixed` (only some defects are visible) were not used for the choice.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from qc_lightning.metrics.intervals import f1_interval, mean_of, proportion
from qc_lightning.metrics.ranking import ranking

SIZES = ((8, 60), (20, 20), (20, 200), (60, 60), (200, 20), (200, 200))
AUROCS = (0.7, 0.9, 0.95, 0.995)
MANY = 200_000
FloatArray = npt.NDArray[np.float64]

NOISE: dict[str, Callable[[np.random.Generator, int], FloatArray]] = {
    "equal": lambda rng, count: rng.normal(size=count),
    "wide": lambda rng, count: rng.normal(size=count),
    "narrow": lambda rng, count: rng.normal(size=count),
    "mixed": lambda rng, count: rng.normal(size=count),
    "skewed": lambda rng, count: (rng.chisquare(3, count) - 3) / math.sqrt(6),
    "heavy": lambda rng, count: rng.standard_t(3, count) / math.sqrt(3),
    "rounded": lambda rng, count: rng.normal(size=count),
}
WIDTH = {"wide": 2.0, "narrow": 0.5}


def draw(rng: np.random.Generator, bad: int, good: int, shift: float, shape: str, photos: int) -> FloatArray:
    """Scores [bad + good], the Incorrect ones first; `photos` neighbours of one class are of one part.

    Args:
        shift: of the Incorrect scores; of `mixed` the share of them that look like Correct ones.
    """

    def noise(count: int) -> FloatArray:
        own = NOISE[shape](rng, count)
        if photos == 1:
            return own
        return (np.repeat(NOISE[shape](rng, -(-count // photos)), photos)[:count] + own) / math.sqrt(2)

    high = noise(bad)
    if shape == "mixed":
        alike = np.repeat(rng.random(-(-bad // photos)) < shift, photos)[:bad]
        high = np.where(alike, high, 30 + high)
    else:
        high = WIDTH.get(shape, 1.0) * high + shift
    score = np.concatenate([high, noise(good)])
    return np.round(score * 4) / 4 if shape == "rounded" else score


def shift_of(auroc: float, shape: str, photos: int) -> float:
    """The shift that gives an AUROC, found with the same scores for every shift."""
    if shape == "mixed":
        return 2 * (1 - auroc)
    if shape in ("equal", *WIDTH):  # by hand
        return NormalDist().inv_cdf(auroc) * math.hypot(1, WIDTH.get(shape, 1.0))
    low, high = 0.0, 20.0
    label = np.arange(2 * MANY) < MANY
    for _ in range(24):
        middle = (low + high) / 2
        score = draw(np.random.default_rng(1), MANY, MANY, middle, shape, photos)
        good = np.sort(score[~label])
        sides = (np.searchsorted(good, score[label], side) for side in ("left", "right"))
        found = float(sum(side.mean() for side in sides)) / (2 * MANY)
        low, high = (middle, high) if found < auroc else (low, middle)
    return (low + high) / 2


def coverage(
    bad: int, good: int, shift: float, shape: str, photos: int, repeats: int, seed: int = 0
) -> dict[str, float]:
    """Percentage of 95% intervals that contain the true value, by metric."""
    rng, n = np.random.default_rng(seed), bad + good
    cut = 1.0 if shape == "mixed" else shift / 2
    many = MANY // n
    score, label = draw(rng, bad * many, good * many, shift, shape, photos), np.arange(n * many) < bad * many
    whole = ranking(score, label)
    recall, specificity = float((score >= cut)[label].mean()), float((score < cut)[~label].mean())
    wrong = good * (1 - specificity) + bad * (1 - recall)
    truth = {
        "auroc": whole.auroc,
        "average_precision": whole.average_precision,
        "balanced_accuracy": (recall + specificity) / 2,
        "f1": 2 * bad * recall / (2 * bad * recall + wrong),
    }
    label = np.arange(n) < bad
    group = None if photos == 1 else np.where(label, np.arange(n) // photos, n + (np.arange(n) - bad) // photos)
    scores = draw(rng, repeats * bad, repeats * good, shift, shape, photos)
    high, low = scores[: repeats * bad].reshape(repeats, bad), scores[repeats * bad :].reshape(repeats, good)

    @cache
    def rates(flagged: bytes) -> dict[str, tuple[float, float]]:
        """Intervals that depend only on which photos are rejected."""
        rejected = np.frombuffer(flagged, dtype=bool)
        right = [
            (hit[of], None if group is None else group[of]) for hit, of in ((rejected, label), (~rejected, ~label))
        ]
        ends = [proportion(*one) for one in right]
        return {
            "balanced_accuracy": mean_of(right[0][0].mean(), right[1][0].mean(), *ends),
            "f1": f1_interval(rejected, label, group),
        }

    held: Counter[str] = Counter()
    for score in np.concatenate([high, low], axis=1):
        found, flagged = ranking(score, label, group), score >= cut
        # ungrouped photos of a class are alike: sorted, the same counts are the same key
        key = flagged if group is not None else np.concatenate([np.sort(flagged[:bad]), np.sort(flagged[bad:])])
        ends = rates(key.tobytes())
        low_high = {"auroc": found.auroc_interval, "average_precision": found.average_precision_interval, **ends}
        held.update(name for name, (least, most) in low_high.items() if least <= truth[name] <= most)
    return {name: 100 * held[name] / repeats for name in truth}


def table(repeats: int, shapes: tuple[str, ...]) -> Iterator[str]:
    """Lines of Markdown: one per setting, and after each shape the range and the number below 93%."""
    yield "| scores | photos a part | Incorrect + Correct | true AUROC | AUROC | AP | balanced accuracy | F1 |"
    yield "|---|---|---|---|---|---|---|---|"
    for shape in shapes:
        found = []
        for photos in (1, 2):
            for auroc in AUROCS:
                shift = shift_of(auroc, shape, photos)
                for bad, good in SIZES:
                    found.append(list(coverage(bad, good, shift, shape, photos, repeats).values()))
                    cells = " | ".join(f"{value:.1f}%" for value in found[-1])
                    yield f"| {shape} | {photos} | {bad} + {good} | {auroc} | {cells} |"
        ranges = [f"{min(one):.1f}% to {max(one):.1f}%, {sum(v < 93 for v in one)}" for one in zip(*found, strict=True)]
        yield f"| {shape}, {len(found)} settings | | | | {' | '.join(ranges)} |"


if __name__ == "__main__":
    for line in table(int((sys.argv[1:] or ["2000"])[0]), tuple(sys.argv[2:]) or tuple(NOISE)):
        print(line, flush=True)
