"""Qualification photos: check them, derive what they show, and write the certificate."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qc_lightning.config import CertifyConfig
from qc_lightning.config.record import RunRecord
from qc_lightning.core.atomic import write_text
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.core.system import now
from qc_lightning.data.catalog import path_text
from qc_lightning.data.checks.appearance import measure_appearance
from qc_lightning.data.checks.duplicates import find_copies
from qc_lightning.data.decoding.decode import DecodeSettings
from qc_lightning.data.photo import Photo
from qc_lightning.data.pixels.pixel_store import PixelStore, open_store
from qc_lightning.evaluation.evaluation_set import split_photos
from qc_lightning.evaluation.measure import versions
from qc_lightning.evaluation.score import Scored
from qc_lightning.inference.checkpoint import saved_decision
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.certificate import Limit, band, by_part
from qc_lightning.metrics.decision import Decision, probabilities
from qc_lightning.metrics.go_live import review_forecast
from qc_lightning.metrics.intervals import wilson
from qc_lightning.metrics.record import DecisionFile, DecisionRecord
from qc_lightning.metrics.verdict import escapes, overkills, reviews

_CARD = "## Certificate"
_NAMED = 5  # copies of the run's photos in a message
_ASSUMPTIONS = (
    "the parts were drawn at random from those that the line makes, Incorrect ones from those that it makes",
    "photos of one part are known to be of one part (data.group)",
    "labels are right",
    "camera, light and product stay as they were when these photos were taken",
    "the model, the decoding, the backend and its precision stay as they are",
)


@dataclass(frozen=True)
class Parts:
    """Scores of the qualification parts.

    Attributes:
        score: float [m], P(Incorrect) of each part's worst photo.
        bad: bool [m].
        names: of the parts, m.
    """

    score: npt.NDArray[np.float64]
    bad: npt.NDArray[np.bool_]
    names: list[str]


def check(run: Run, photos: Sequence[Photo], decode: DecodeSettings) -> list[str]:
    """Refuse photos that cannot qualify a run, before they are scored; returns sentences on what could not be checked.

    Args:
        run: the run to certify.
        photos: the qualification photos, with labels.
        decode: decode settings of the run.

    Raises:
        UserError: some cannot be read, the run has seen some, or there is no Incorrect one.
    """
    if not any(photo.label == 1 for photo in photos):
        raise UserError(f"expected Incorrect photos among the {len(photos)}, got none: an escape rate needs them")
    own = split_photos(run)
    present = [photo for photo in own if photo.path.is_file()]
    both = [*present, *photos]
    store = open_store([one.path for one in both], decode, "ram", Path(), cameras=[one.camera for one in both])
    _refuse_unreadable([(both[row].path, reason) for row, reason in sorted(store.bad.items()) if row >= len(present)])
    if copies := _copies_of_own(own, both, len(present), store):
        some = ", ".join(copies[:_NAMED])
        rest = f" and {len(copies) - _NAMED} more" if len(copies) > _NAMED else ""
        raise UserError(
            f"expected photos that {run.folder} has never seen, but {len(copies)} are among its own, copies of them "
            f"that were saved again, or look exactly like one: leave out {some}{rest}"
        )
    gone = len(own) - len(present)
    return [f"{gone} of the run's own photos are gone: copies of them that were saved again are not found"] * (gone > 0)


def _refuse_unreadable(bad: Sequence[tuple[Path, str]]) -> None:
    """Raise UserError if there are unreadable photos, each with its path and reason."""
    if bad:
        path, reason = bad[0]
        raise UserError(
            f"{len(bad)} qualification photos cannot be read, for example {path} ({reason}): leave them out"
        )


def _copies_of_own(own: Sequence[Photo], photos: Sequence[Photo], present: int, store: PixelStore) -> list[str]:
    """Describe each qualification photo that the run has.

    By the digest of the file, and where the run's photo is there, by pixels too, as in the checks before a training.

    Args:
        own: the run's photos, with sha256.
        photos: the run's photos that are there, then the qualification photos.
        present: how many are the run's.
        store: pixels of `photos`.
    """
    readable = np.array([row for row in range(len(photos)) if row not in store.bad], dtype=np.int64)
    appearance = measure_appearance(store, readable)
    digests = [store.sha256[row] for row in readable]
    pairs, _ = find_copies(digests, appearance, store, readable, np.arange(len(readable)))
    first_new = int(np.searchsorted(readable, present))
    original = {pair.second: pair.first for pair in pairs if pair.first < first_new <= pair.second}
    for pair in sorted(pairs, key=lambda pair: pair.kind == "bytes"):  # of equal photos only the first was compared
        if pair.kind != "alike" and pair.first in original:
            original[pair.second] = original[pair.first]
    by_pixels = {int(readable[copy]): photos[readable[like]].path for copy, like in original.items()}
    by_digest = {photo.sha256: photo.path for photo in own}
    copies = []
    for row in range(present, len(photos)):
        if like := by_digest.get(store.sha256[row]) or by_pixels.get(row):
            path = photos[row].path
            copies.append(str(path) if like == path else f"{path} (like {like})")
    return copies


def parts(scored: Scored) -> Parts:
    """Each part's worst photo.

    Raises:
        UserError: a photo could not be read any more.
    """
    _refuse_unreadable(scored.bad)
    label = np.array([photo.label for photo in scored.photos])
    return Parts(*by_part(probabilities(scored.logit), label, [photo.group for photo in scored.photos]))


def record(
    run: Run, inspector: Inspector, scored: Scored, parts: Parts, limits: Sequence[Limit], config: CertifyConfig
) -> DecisionRecord:
    """Add the certified decision to the run's decision.json, where it is then in force.

    Args:
        run: the certified run.
        inspector: its model.
        scored: the qualification photos.
        parts: their parts.
        limits: what they show, all of it shown.
        config: all settings.
    """
    model_id, own, _ = saved_decision(run.best)
    threshold, review = band(limits)
    rates = " and ".join(f"{limit.kind} rate at most {100 * limit.rate:.4g}%" for limit in limits)
    together = " together" if config.together and len(limits) > 1 else ""
    why = f"certify: {rates} at {100 * config.confidence:.4g}% confidence{together}, one-sided exact"
    why += f" ({config.reason})" if config.reason else ""
    counts = f"{parts.bad.sum()} Incorrect and {(~parts.bad).sum()} Correct parts"
    decision = Decision(threshold, why, review, inspector.decision.novelty)
    novelty = [None] * len(scored.photos) if scored.novelty is None else scored.novelty.tolist()
    photos = [
        {"path": path_text(str(photo.path)), "sha256": photo.sha256, "part": photo.group, "label": photo.label}
        | {"logit": float(logit), "novelty": distance}
        | ({"camera": photo.camera} if photo.camera else {})
        for photo, logit, distance in zip(scored.photos, scored.logit, novelty, strict=True)
    ]
    certificate = {
        "claims": [asdict(limit) for limit in limits],
        "confidence": config.confidence,
        "together": config.together,
        "parts": {"correct": int((~parts.bad).sum()), "incorrect": int(parts.bad.sum())},
        "model_id": model_id,
        "decode": inspector.decode.plain(),
        **inspector.backend,
        "versions": versions(),
        "when": now(),
        "assumptions": list(_ASSUMPTIONS),
        "photos": photos,
    }
    decisions = DecisionFile.append(run, (model_id, own), decision, "certify", counts, config.by, certificate)
    _into_card(run, decisions.newest)
    return decisions.newest


def _into_card(run: Run, record: DecisionRecord) -> None:
    """Append the certificate to model_card.md, replacing an earlier one."""
    card = run.folder / "model_card.md"
    if not card.is_file():
        return
    text = card.read_text(encoding="utf-8").partition(_CARD)[0].rstrip()
    made = f"Decision {record.number}, by {record.who}, {record.when}, on {record.photos}."
    lines = [f"{made} {record.decision.source}. It is void for another decision, model or decoding. It assumes that"]
    lines += [f"- {assumption}" for assumption in _ASSUMPTIONS]
    write_text(card, f"{text}\n\n{_CARD}\n\n" + "\n".join(lines) + "\n")


def in_words(
    run: Run, record: DecisionRecord, parts: Parts, limits: Sequence[Limit], classes: Sequence[str]
) -> list[str]:
    """Effect of the certified decision on parts, in sentences.

    Args:
        run: its settings may have the line's share of bad parts.
        record: the decision.
        parts: that it was certified on.
        limits: what was certified.
        classes: the user's names for Correct and Incorrect.
    """
    decision = record.decision
    verdicts = decision.verdicts(parts.score)
    escapes_, overkills_, reviewed = escapes(verdicts, parts.bad), overkills(verdicts, parts.bad), reviews(verdicts)
    band_words = "" if decision.review is None else f", review up to {decision.review[1]:.6g}"
    lines = [
        f"threshold {decision.threshold:.6g}{band_words}: {escapes_.sum()} of {parts.bad.sum()} {classes[1]} parts "
        f"pass, {overkills_.sum()} of {(~parts.bad).sum()} {classes[0]} parts are rejected, {reviewed.sum()} reviewed"
    ]
    if not parts.bad.all():
        low, high = wilson(int(overkills_.sum()), int((~parts.bad).sum()))
        certified = next((f"{100 * limit.rate:.4g}%" for limit in limits if limit.kind == "overkill"), None)
        guarantee = f"certified: at most {certified}" if certified else "no guarantee, give overkill_rate= for one"
        lines.append(f"overkill on the line: {low:.2%} to {high:.2%} of {classes[0]} parts (95% interval; {guarantee})")
    return lines + review_forecast(reviewed, parts.bad, RunRecord.read(run).training.decision.bad_share)
