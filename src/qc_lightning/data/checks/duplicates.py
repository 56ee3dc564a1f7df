"""Find copies in a dataset: identical bytes, identical pixels, or the same picture saved again smaller or lighter.

The usual perceptual hash compares bits of a small picture and calls many different photos of similar parts duplicates.
Here the small picture itself is compared, after removing what it shares with the others: brightness and contrast, the
mean picture of the set, and then the set's main variations. What remains of different parts has little in common, what
remains of copies nearly everything. The small picture is grey, so a copy must also have the photo's mean colour.
Figures: docs/audit.md
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qc_lightning.core.bars import Progress
from qc_lightning.data.checks.appearance import Appearance, Floats
from qc_lightning.data.pixels.pixel_store import PixelStore

# How much of a photo's own variation its copy may lack. Beyond the mean picture, copies saved as JPEG 80, at half size
# or 5% lighter lack at most 0.001 where photos differ much (solar cells, rendered parts; different photos lack at least
# 0.005 and 0.07) and up to 0.11 where they differ in little more than noise (different ones lack at least 0.6). So the
# limit is a part of what the tenth nearest photo lacks, in the neighbourhoods where that is least.
_BEYOND_MEAN, _NEARER, _MOST = 0.012, 0.2, 0.12
# Beyond the main variations copies lack at most 0.01, or 0.2 where there is little but noise and different ones lack
# 0.6: what exceeds the certain limit has to be far nearer than the tenth nearest of either photo.
_CERTAIN, _FAR_NEARER = 0.02, 0.3
_NEIGHBOURHOOD, _CLOSEST, _SAMPLE = 10, 0.02, 256
# Limit for the mean colour of a copy, apart from brightness: grey levels, or a fraction of the photo's own tint.
# Copies as JPEG 80, at half size or 5% lighter were off by at most 0.6 levels, of tints up to 8.
_TINT, _TINT_SHARE = 1.0, 0.15
_VARIATIONS = 4
_BLOCK, _LIKENESSES = 1024, 1 << 25  # photos compared with all others at a time, limited by the pairs: 128 MB
_PER_PHOTO = 16  # nearest copies of a photo that are listed where there are many
_TAKING_PART = 10  # photos that share a variation, at least
_LOOKALIKE = 3.0  # multiple of the copies' limit up to which a pair is shown as a lookalike
_LARGEST_GROUP, _LARGEST_SHARE = 20, 0.05

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Copies:
    """Two photos of a set that are one picture.

    Attributes:
        first: position of the first photo.
        second: position of the other, above `first`.
        kind: bytes (the same file), pixels (another file of the same pixels), alike (saved again, changed a little), or
            lookalike (nearly, but not certainly one picture).
        distance: share of the first photo's own variation that the second lacks, 0 for the same pixels.
    """

    first: int
    second: int
    kind: str
    distance: float


def identical_files(sha256: Sequence[str]) -> list[Copies]:
    """Pairs of files with the same digest: the first of them with each of the others."""
    first = {digest: index for index, digest in reversed(list(enumerate(sha256)))}
    return [Copies(first[digest], index, "bytes", 0.0) for index, digest in enumerate(sha256) if first[digest] != index]


def find_copies(
    sha256: Sequence[str],
    appearance: Appearance,
    store: PixelStore,
    positions: Indices,
    unit: Indices,
    progress: bool = True,
) -> tuple[list[Copies], list[Copies]]:
    """Find pairs of photos that are copies, and pairs that only look alike.

    Of n photos with the same bytes or the same pixels n - 1 pairs are listed: the first photo with each of the others.
    A photo that was saved again is compared with the first of them too.

    Args:
        sha256: of each file's bytes.
        appearance: the small pictures and mean colours of the n photos.
        store: their pixels.
        positions: int64 [n], their rows in the store.
        unit: int64 [n], equal for photos that are known to be alike, with one label and one group: such pairs are not
            listed as lookalikes.
        progress: whether to show a bar when it takes long.

    Returns:
        The copies; and of each photo the nearest other one that looks alike, the nearest pairs first.
    """
    copies, small = identical_files(sha256), appearance.small
    seconds = {pair.second for pair in copies}
    by_picture: dict[bytes, list[int]] = defaultdict(list)
    for index in (index for index in range(len(sha256)) if index not in seconds):
        same_grey = by_picture[np.round(small[index], 1).tobytes()]
        first = next(
            (other for other in same_grey if _same_pixels(store, int(positions[index]), int(positions[other]))), None
        )
        if first is None:
            same_grey.append(index)
        else:
            copies.append(Copies(first, index, "pixels", 0.0))
    different = np.array(sorted(index for same_grey in by_picture.values() for index in same_grey), dtype=np.int64)
    lookalikes = list[Copies]()
    for i, j, distance, kind in _alike(small[different], appearance.colour[different], unit[different], progress):
        pairs = copies if kind == "alike" else lookalikes
        pairs.append(Copies(int(different[i]), int(different[j]), kind, distance))
    return copies, sorted(lookalikes, key=lambda pair: pair.distance)


def _same_pixels(store: PixelStore, row: int, other: int) -> bool:
    one, two = store.pixels([row, other])
    return bool((one == two).all())


def _alike(small: Floats, colour: Floats, unit: Indices, progress: bool) -> list[tuple[int, int, float, str]]:
    """Pairs i < j of small pictures, float32 [n, SIDE, SIDE], their distance, and whether alike or lookalike."""
    tint = colour - colour.mean(1, keepdims=True)
    beyond_mean, beyond_variations = _own_parts(small)
    n, pairs = len(small), []
    lack = _limit(beyond_mean)
    limit, wide = math.sqrt(1 - lack), math.sqrt(1 - _LOOKALIKE * lack)
    single = len(np.unique(unit)) == n
    block_size = max(1, min(_BLOCK, _LIKENESSES // max(1, n)))
    bar = Progress(range(0, n, block_size), desc="Comparing photos", unit="block", delay=1.5, disable=not progress)
    for start in bar:
        block = slice(start, min(start + block_size, n))
        likeness = beyond_mean[block] @ beyond_mean[start:].T  # correlation: the fraction lacking is 1 minus its square
        i, j = np.nonzero(np.triu(likeness > limit, 1))
        if len(i) > _PER_PHOTO * len(likeness):  # a set without much variation: the nearest of each photo are enough
            nearest = np.argpartition(-np.triu(likeness, 1), min(_PER_PHOTO, n - start - 1), axis=1)[:, :_PER_PHOTO]
            i, j = np.repeat(np.arange(len(likeness)), nearest.shape[1]), nearest.ravel()
            kept = (likeness[i, j] > limit) & (j > i)
            i, j = i[kept], j[kept]
        kept = _confirmed(beyond_variations, start + i, start + j) & _same_tint(tint[start + i], tint[start + j])
        pairs += _listed(start, i[kept], j[kept], likeness, "alike")
        likeness[:, : len(likeness)] = np.triu(likeness[:, : len(likeness)], 1)
        likeness[i[kept], j[kept]] = 0
        if not single:
            likeness[unit[block, None] == unit[start:]] = 0
        nearest = likeness.argmax(1)
        i = np.flatnonzero(likeness[np.arange(len(likeness)), nearest] > wide)
        pairs += _listed(start, i, nearest[i], likeness, "lookalike")
    return pairs


def _listed(start: int, i: Indices, j: Indices, likeness: Floats, kind: str) -> list[tuple[int, int, float, str]]:
    lacking = np.clip(1 - likeness[i, j] ** 2, 0, 1)
    return [(start + a, start + b, c, kind) for a, b, c in zip(i.tolist(), j.tolist(), lacking.tolist(), strict=True)]


def _confirmed(own: Floats, i: Indices, j: Indices) -> npt.NDArray[np.bool_]:
    """Which of the pairs (i, j) are copies; of the own parts of all photos, unit rows [n, cells]."""
    lacking = 1 - np.einsum("pd,pd->p", own[i], own[j]) ** 2
    certain: npt.NDArray[np.bool_] = lacking <= _CERTAIN
    unsure = np.flatnonzero(~certain & (lacking <= _FAR_NEARER))
    for part in np.array_split(unsure, len(unsure) // min(_BLOCK, max(1, _LIKENESSES // len(own))) + 1):
        nearest = np.minimum(_neighbourhood(own, i[part]), _neighbourhood(own, j[part]))
        certain[part] = lacking[part] <= _FAR_NEARER * nearest
    return certain


def _same_tint(one: Floats, other: Floats) -> npt.NDArray[np.bool_]:
    """Which pairs of tints (mean colour minus brightness), both [pairs, 3], are as near as those of copies."""
    allowed = np.maximum(_TINT, _TINT_SHARE * np.abs(one).max(1))
    near: npt.NDArray[np.bool_] = np.abs(one - other).max(1) <= allowed
    return near


def _limit(own: Floats) -> float:
    """How much of the own part, unit rows [n, cells], a copy may lack in this set of photos."""
    if len(own) < 2:
        return _BEYOND_MEAN
    sample = np.unique(np.linspace(0, len(own) - 1, _SAMPLE).astype(np.int64))
    closest = float(np.quantile(_neighbourhood(own, sample), _CLOSEST))
    return max(_BEYOND_MEAN, min(_MOST, _NEARER * closest))


def _neighbourhood(own: Floats, places: Indices) -> Floats:
    """What the tenth nearest photo lacks of each of these, or in a small set the one a quarter of the way."""
    rank = min(_NEIGHBOURHOOD, len(own) // 4)
    lacking: Floats = 1 - np.partition((own[places] @ own.T) ** 2, -1 - rank, axis=1)[:, -1 - rank]
    return lacking


def _own_parts(small: Floats) -> tuple[Floats, Floats]:
    """Each photo without the set's mean picture, and also without its main variations: unit rows [n, cells]."""
    x = small.reshape(len(small), -1)
    x = x - x.mean(1, keepdims=True)
    x = x / np.maximum(x.std(1, keepdims=True), 1e-3)
    x = x - x.mean(0)
    beyond_mean = _unit(x)
    # the main directions in which the photos vary, those aside that a few photos alone make: those may be the copies
    _, directions = np.linalg.eigh((beyond_mean.T @ beyond_mean).astype(np.float64))
    for direction in directions.T[::-1][: min(_VARIATIONS, len(x) // 20)].astype(np.float32):
        score = x @ direction
        taking_part = float((score**2).sum()) ** 2 / max(float((score**4).sum()), 1e-12)
        if taking_part >= _TAKING_PART:
            x = x - np.outer(score, direction)
    return beyond_mean, _unit(x)


def _unit(x: Floats) -> Floats:
    unit: Floats = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-6))
    return unit


def join_copies(groups: Sequence[str], copies: Sequence[Copies], near: bool) -> tuple[list[str], list[Copies]]:
    """Merge the groups of photos that are copies of each other.

    Photos with the same bytes or pixels are always joined. Those alike are joined nearest first and never into a group
    of more than a twentieth of the photos (at least 20): otherwise similar parts would form one long chain.

    Args:
        groups: group of each photo.
        copies: pairs of copies.
        near: whether to join near-duplicates too.

    Returns:
        The groups, and the pairs alike that would have made a group too large.
    """
    leader: dict[str, str] = {}
    size = Counter(groups)
    most = max(_LARGEST_GROUP, round(_LARGEST_SHARE * len(groups)))

    def find(group: str) -> str:
        while leader.setdefault(group, group) != group:
            leader[group] = group = leader[leader[group]]
        return group

    chained = []
    for pair in sorted(copies, key=lambda pair: (pair.kind == "alike", pair.distance)):
        first, other = sorted((find(groups[pair.first]), find(groups[pair.second])))
        if first == other or (pair.kind == "alike" and not near):
            continue
        if pair.kind == "alike" and size[first] + size[other] > most:
            chained.append(pair)
            continue
        leader[other] = first
        size[first] += size[other]
    return [find(group) for group in groups], chained
