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
from qc_lightning.data.appearance import measure_appearance
from qc_lightning.data.catalog import path_text
from qc_lightning.data.decode import DecodeSettings
from qc_lightning.data.duplicates import find_copies
from qc_lightning.data.pixel_store import open_store
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


def check(run: Run, scored: Scored, decode: DecodeSettings) -> list[str]:
    """Refuse photos that cannot qualify a run; returns sentences on what could not be checked.

    Raises:
        UserError: some cannot be read, the run has seen some, or there is no Incorrect one.
    """
    if scored.bad:
        path, reason = scored.bad[0]
        raise UserError(
            f"{len(scored.bad)} qualification photos cannot be read, for example {path} ({reason}): leave them out"
        )
    if not any(photo.label == 1 for photo in scored.photos):
        raise UserError(
            f"expected Incorrect photos among the {len(scored.photos)}, got none: an escape rate needs them"
        )
    gone, copies = _copies_of_own(run, scored, decode)
    if copies:
        some = ", ".join(copies[:_NAMED])
        rest = f" and {len(copies) - _NAMED} more" if len(copies) > _NAMED else ""
        raise UserError(
            f"expected photos that {run.folder} has never seen, but {len(copies)} are among its own or copies of them "
            f"that were saved again: leave out {some}{rest}"
        )
    return [f"{gone} of the run's own photos are gone: copies of them that were saved again are not found"] * (gone > 0)


def _copies_of_own(run: Run, scored: Scored, decode: DecodeSettings) -> tuple[int, list[str]]:
    """Number of the run's photos that are missing, and a description of each qualification photo that the run has.

    By the digest of the file, and where the run's photo is there, by pixels too, as in the checks before a training.
    """
    own = split_photos(run)
    present = [photo for photo in own if photo.path.is_file()]
    paths = [photo.path for photo in (*present, *scored.photos)]
    cameras = [photo.camera for photo in (*present, *scored.photos)]
    store = open_store(paths, decode, "ram", Path(), cameras=cameras)
    readable = np.array([row for row in range(len(paths)) if row not in store.bad], dtype=np.int64)
    appearance = measure_appearance(store, readable)
    digests = [store.sha256[row] for row in readable]
    pairs, _ = find_copies(digests, appearance, store, readable, np.arange(len(readable)))
    first_of_own = int(np.searchsorted(readable, len(present)))
    original = {pair.second: pair.first for pair in pairs if pair.first < first_of_own <= pair.second}
    for pair in sorted(pairs, key=lambda pair: pair.kind == "bytes"):  # of equal photos only the first was compared
        if pair.kind != "alike" and pair.first in original:
            original[pair.second] = original[pair.first]
    by_pixels = {paths[readable[copy]]: paths[readable[own]] for copy, own in original.items()}
    by_digest = {photo.sha256: photo.path for photo in own}
    copies = []
    for photo in scored.photos:
        if like := by_digest.get(photo.sha256) or by_pixels.get(photo.path):
            copies.append(str(photo.path) if like == photo.path else f"{photo.path} (like {like})")
    return len(own) - len(present), copies


def parts(scored: Scored) -> Parts:
    """Each part's worst photo."""
    label = np.array([photo.label for photo in scored.photos])
    return Parts(*by_part(probabilities(scored.logit), label, [photo.group for photo in scored.photos]))


def record(
    run: Run, inspector: Inspector, scored: Scored, parts: Parts, limits: Sequence[Limit], config: CertifyConfig
) -> DecisionRecord:
    """Add the certified decision to the run's decision.json, where it is then in force."""
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
