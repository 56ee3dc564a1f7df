"""Explain photos: heat on the original photo, and whether it beats random maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from qc_lightning.core.bars import Progress
from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode_whole, read, scaled
from qc_lightning.data.decoding.geometry import region
from qc_lightning.explanation import checks
from qc_lightning.explanation.heat import Heat
from qc_lightning.explanation.selection import Subject
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.decision import probabilities
from qc_lightning.metrics.verdict import Verdict

LONGEST = 1600  # largest side of a picture, in pixels


@dataclass(frozen=True)
class Explanation:
    """One photo with its heat map.

    Attributes:
        subject: the photo.
        sha256: digest of its bytes, hex.
        probability: P(Incorrect).
        verdict: verdict of the photo; None if it could not be read.
        incorrect: whether the heat is evidence for Incorrect, else for Correct.
        photo: uint8 RGB [h, w, 3], upright, at most LONGEST along its longer side.
        heat: float32 [h, w], its sum 1.
        mask: bool [h, w] of the defect, or None.
        falls: decrease of the evidence without the hottest pixels: of this map, then of random maps; empty if not
            checked.
        error: why the photo could not be read, else empty.
    """

    subject: Subject
    sha256: str = ""
    probability: float = float("nan")
    verdict: Verdict | None = None
    incorrect: bool = True
    photo: npt.NDArray[np.uint8] | None = None
    heat: npt.NDArray[np.float32] | None = None
    mask: npt.NDArray[np.bool_] | None = None
    falls: tuple[float, ...] = ()
    error: str = ""

    @property
    def beats_random(self) -> bool | None:
        """Whether its hottest pixels matter more than those of every random map; None if not checked."""
        return self.falls[0] > max(self.falls[1:]) if self.falls else None

    @property
    def measures(self) -> dict[str, Any]:
        """The map's columns in explain.csv; None for unknown values."""
        # evidence for Correct is not expected on the defect
        heat, mask = self.heat, self.mask if self.incorrect else None
        values: dict[str, Any] = dict.fromkeys(("x", "y", "hit", "hit_by_chance", "heat_in_mask", "mask_share"))
        if heat is not None:
            values["y"], values["x"] = (int(place) for place in np.unravel_index(int(heat.argmax()), heat.shape))
        if heat is not None and mask is not None:
            values["hit"], values["hit_by_chance"] = checks.points_at(heat, mask), checks.chance(mask)
            values["heat_in_mask"], values["mask_share"] = checks.share_inside(heat, mask), float(mask.mean())
        fall, *random = self.falls or (None,)
        return values | {"fall": fall, "fall_random": float(np.mean(random)) if random else None}


def explain(
    inspector: Inspector, heat: Heat, images: Sequence[Subject], batch_size: int, target: str, check: bool
) -> Iterator[Explanation]:
    """Explain photos in order, in batches.

    Args:
        inspector: the model.
        heat: computes the maps.
        images: the photos.
        batch_size: photos per batch; halved permanently whenever memory runs out.
        target: `verdict` or `incorrect`.
        check: compare each map with random maps.

    Raises:
        MemoryError, torch.OutOfMemoryError: a single photo does not fit.
    """
    bar = Progress(total=len(images), desc=f"explaining ({heat.method})", unit="photo", delay=1)
    begin = 0
    with bar:
        while begin < len(images):
            try:
                done = explain_some(inspector, heat, images[begin : begin + batch_size], target, check)
            except (MemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or batch_size == 1:
                    raise
                batch_size //= 2
                continue
            yield from done
            begin += len(done)
            bar.update(len(done))


def _out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def explain_some(
    inspector: Inspector, heat: Heat, images: Sequence[Subject], target: str, check: bool
) -> list[Explanation]:
    """Explain one batch of photos; arguments as for `explain`."""
    explanations: dict[int, Explanation] = {}
    pixels, digests = {}, {}
    for i, subject in enumerate(images):
        try:
            pixels[i], digests[i] = read(subject.path, inspector.decode.at(subject.camera))
        except BadImage as reason:
            explanations[i] = Explanation(subject, error=str(reason))
    if pixels:
        image = scaled(torch.from_numpy(np.stack(list(pixels.values()))).to(inspector.device))
        logit, novelty = inspector.scores(np.stack(list(pixels.values())))
        probability = probabilities(logit)
        verdicts = inspector.decision.verdicts(probability, None if novelty is None else novelty.numpy())
        incorrect = [target == "incorrect" or verdict != Verdict.PASS for verdict in verdicts]
        maps, _ = heat(image, incorrect)
        for place, i in enumerate(pixels):
            subject = images[i]
            photo = decode_whole(subject.path, inspector.decode, LONGEST)
            falls: tuple[float, ...] = ()
            if check:
                random = checks.random_maps(maps.shape[1:], int(digests[i][:8], 16))
                one = image[place : place + 1]
                falls = tuple(checks.fall(inspector.network, one, m, incorrect[place]) for m in (maps[place], *random))
            explanations[i] = Explanation(
                subject,
                digests[i],
                float(probability[place]),
                Verdict(verdicts[place]),
                incorrect[place],
                photo,
                on_photo(maps[place], photo.shape[:2], inspector.decode.at(subject.camera)),
                _mask(subject, photo.shape[:2]),
                falls,
            )
    return [explanations[i] for i in range(len(images))]


def on_photo(heat: npt.NDArray[np.float32], shape: tuple[int, int], decode: DecodeSettings) -> npt.NDArray[np.float32]:
    """Resize a map to the photo, undoing the decoder's resize.

    Args:
        heat: float32 [H, W], as the network saw the photo.
        shape: height and width of the photo.
        decode: letterbox or squash, and the region of interest; there is no heat outside it.

    Returns:
        float32 [height, width], 0 and above, its sum 1 unless there is no heat.
    """
    kept = region(decode.roi, shape)
    full = np.zeros(shape, np.float32)
    shape = full[kept].shape[0], full[kept].shape[1]
    high, wide = heat.shape
    if decode.resize == "letterbox":
        scale = min(high / shape[0], wide / shape[1])
        inner = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
        top, left = (high - inner[0]) // 2, (wide - inner[1]) // 2
        heat = heat[top : top + inner[0], left : left + inner[1]]
    full[kept] = np.asarray(Image.fromarray(heat).resize(shape[::-1], Image.Resampling.BILINEAR), np.float32)
    return full / max(float(full.sum(dtype=np.float64)), 1e-30)


def _mask(subject: Subject, shape: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    if subject.mask is None:
        return None
    settings = DecodeSettings()  # its size does not matter: the mask is decoded in full
    try:
        pixels = decode_whole(Path(subject.mask), settings, LONGEST)[..., 0]
    except BadImage:
        return None
    mask = np.asarray(Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.NEAREST)) > 127
    return mask if mask.any() else None
