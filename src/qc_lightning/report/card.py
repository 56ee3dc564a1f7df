"""model_card.md: photos, recipe, metrics and limits of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from qc_lightning.config import TrainConfig
from qc_lightning.data.decoding.decode_settings import DecodeSettings
from qc_lightning.data.decoding.mask import unpack_mask
from qc_lightning.metrics.calibration import shifted
from qc_lightning.metrics.compute import FIGURES
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.go_live import in_words
from qc_lightning.metrics.wording import interval, percent

_SHOWN = ("escape_rate", "overkill_rate", "accuracy", "balanced_accuracy", "auroc")


def model_card(
    config: TrainConfig,
    decode: DecodeSettings,
    counts: Mapping[str, tuple[int, int]],
    metrics: Mapping[str, Any],
    decision: Decision,
) -> str:
    """The card as Markdown.

    Args:
        config: settings of the run.
        decode: decode settings of the run.
        counts: photos of each subset, (Correct, Incorrect).
        metrics: content of metrics.json.
        decision: the threshold and its origin.
    """
    correct, incorrect = (_plain(name) for name in config.data.classes.names)
    model, subset = config.model, next((name for name in ("test", "val", "train") if name in metrics), None)
    good_only = not counts["train"][1]
    frozen = f", {model.copies} augmented copies of each training photo" if model.copies else ""
    tiles = f", {config.data.tiles} tiles of that size, the worst one counts" if config.data.tiles != "1x1" else ""
    recipe = [
        ("network", f"{model.name} ({model.library}), {model.mode}"),
        ("input", f"{decode.height} x {decode.width} pixels, {config.data.resize}, {_regions(decode)}{tiles}"),
        ("augmentation", _augmentation(config) + frozen),
        ("head", (metrics.get("head") or {}).get("choice") or _head(config, good_only)),
        ("seed", str(config.seed)),
        ("threshold", f"{decision.threshold:.6g} ({decision.source})"),
        ("model id", metrics.get("model_id", "-")),
    ]
    parts = [
        f"# Model card: {correct} or {incorrect}",
        f"Gives each photo P({incorrect}); at the threshold or above the part is rejected.",
        "## Photos",
        _table(("subset", correct, incorrect), [(name, f"{a:,}", f"{b:,}") for name, (a, b) in counts.items()]),
        f"Source: {config.data.source}; photos of one part kept together by: {config.data.group}.",
        "## Recipe",
        _table(("what", "how"), [(what, _plain(how)) for what, how in recipe]),
    ]
    if subset is not None:
        values = [(FIGURES[name], interval(metrics[subset][name])) for name in _SHOWN]
        seen = "photos not used for any choice" if subset == "test" else "photos the model was built with"
        parts += [f"## Figures on the {metrics[subset]['n']:,} {subset} photos", f"On {seen}; 95% intervals."]
        parts += [_table(("figure", "value"), values)]
    if "go_live" in metrics:
        answer = [_plain(text) for text in in_words(metrics["go_live"], config.data.classes.names)]
        parts[2:2] = ["## Can it go live?", "\n".join(f"- {text}" for text in answer)]
    probability = _OF_GOOD_ONLY if good_only else _calibrated(metrics) if "calibration" in metrics else _NOT_CALIBRATED
    limits = [*metrics.get("warnings", []), *_LIMITS, probability]
    parts += ["## Limits", "\n".join(f"- {_plain(text)}" for text in limits)]
    return "\n\n".join(parts) + "\n"


_LIMITS = (
    "It knows defects like those in its photos; a new kind of defect may pass. Add photos of it and train again.",
    "The figures hold for photos taken as these were. After a change of camera, light or part, evaluate on new photos.",
    "The intervals take photos of one group as one part; where parts were photographed several times without a group, "
    "the true uncertainty is larger.",
)

_NOT_CALIBRATED = "The probability is the network's own and not calibrated."
_OF_GOOD_ONLY = (
    "The probability is a scale of the distance to good photos: 0.5 where 5% of the good ones it was trained on lie "
    "farther off, 0.05 at their median. It does not say how often such a photo shows a defect."
)


def _calibrated(metrics: Mapping[str, Any]) -> str:
    """Meaning of the probability, and its calibration on test photos."""
    forecasts = metrics["go_live"]["per_1000"] if "go_live" in metrics else [{"bad_share": 0.01}]
    means = ", ".join(
        f"{percent(shifted(0.9, row['bad_share']))} where {100 * row['bad_share']:.3g}% of the parts are bad"
        for row in forecasts
    )
    text = f"The probability is calibrated (Platt scaling) to even odds: 0.9 means {means}."
    test = metrics["calibration"].get("test")
    if test and test["after"]["brier"] is not None:
        brier = f"{test['after']['brier']:.3f}, before calibration {test['before']['brier']:.3f}"
        text += f" Brier score on the test photos, both classes weighing alike: {brier}."
    return text


def _head(config: TrainConfig, good_only: bool) -> str:
    if good_only:
        return "distance to good photos"
    hidden = config.model.hidden
    return f"hidden layers {hidden}, dropout {config.model.dropout:g}" if hidden else "linear"


def _augmentation(config: TrainConfig) -> str:
    augment = config.augment
    if augment.policy != "ranges":
        return str(augment.policy)
    names = ("rotation", "zoom", "shift", "hflip", "vflip", "brightness", "contrast", "blur", "noise", "mixup")
    used = [f"{name} {getattr(augment, name):g}" for name in names if getattr(augment, name)]
    return ", ".join(used) or "none"


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(text: str) -> str:
    """A user's name as plain text, escaped so that it cannot act as a table cell, a link or markup."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _regions(decode: DecodeSettings) -> str:
    if not decode.cameras:
        return _region(decode)
    return "; ".join(f"of camera {_plain(one.camera)} {_region(decode.at(one.camera))}" for one in decode.cameras)


def _region(decode: DecodeSettings) -> str:
    region = "the whole photo"
    if decode.roi is not None:
        shares = (f"{decode.roi[side]:.0%}" for side in (0, 2, 1, 3))
        region = "the region {} to {} across, {} to {} down".format(*shares)
    if decode.mask is not None:
        region += f", of it the {unpack_mask(decode.mask, decode.shape[1:]).mean():.0%} that a mask leaves"
    return region
