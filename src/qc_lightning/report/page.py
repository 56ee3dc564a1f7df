"""report.html: one page built from a run folder's files only, so it can be rebuilt at any time.

    python -m qc_lightning.report.page outputs/<date>/<time>

The page needs no network, and a content security policy lets nothing but its own script run: file names, class names
and settings come from outside and are escaped as well.
"""

import base64
import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qc_lightning.config.record import RunRecord
from qc_lightning.core.atomic import replacing
from qc_lightning.core.errors import UserError, reading
from qc_lightning.core.run import Run
from qc_lightning.data.corrections import read_corrections
from qc_lightning.metrics.calibration import shifted
from qc_lightning.metrics.compute import finite
from qc_lightning.metrics.decision import short
from qc_lightning.metrics.go_live import in_words
from qc_lightning.metrics.wording import interval, percent, shown_figures, subset_name
from qc_lightning.report.advice import Advised, advice
from qc_lightning.report.chart_data import chart_data, samples
from qc_lightning.report.choices import rules_that_work
from qc_lightning.report.environment import FOLDER, environment, style
from qc_lightning.report.gallery import Pictures, RunPhotos, mistakes, most_novel
from qc_lightning.report.groups import group_advice
from qc_lightning.report.leaks import leak_checks, split_counts
from qc_lightning.report.region import region_pictures
from qc_lightning.report.run_files import (
    data_settings,
    decisions_of,
    json_of,
    metrics_of,
    number,
    record_of,
    results_of,
    table_of,
    text_of,
)

_MOST_ROWS = 400  # photos in the list of verdicts
_MOST_BAD = 100


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run folder.

    Args:
        run_dir: a run folder with metrics.json. Other missing data (no test photos, photos moved away, a stopped run)
            omits its section. Heat maps are taken from `explanations/<sha256>.png`.

    Returns:
        The path of the page.

    Raises:
        UserError: metrics.json is missing or unreadable.
    """
    from jinja2 import UndefinedError
    from markupsafe import Markup

    script = "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("report.js", "corrections.js"))
    # the page's own script is trusted: like the style it is not escaped
    own = {"style": style(), "script": Markup(script)}
    pages = environment(FOLDER)
    pages.filters |= {"percent": percent, "interval": interval, "value": _value, "spread": _spread, "short": short}
    template = pages.get_template("report.html.jinja")
    try:
        with reading(f"what {run_dir} holds"):
            page = template.render(**_content(run_dir), **own, script_hash=script_hash(script))
    except UndefinedError as error:
        raise UserError(f"what {run_dir} holds is damaged ({error.message}): restore it or train again") from error
    with replacing(run_dir / "report.html") as temporary:
        # a file name that is not valid Unicode is shown with its bytes
        temporary.write_bytes(page.encode("utf-8", "backslashreplace"))
    return run_dir / "report.html"


def script_hash(script: str) -> str:
    """The hash of an inline script for a content security policy: SHA-256 in base64."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _content(run: Path) -> dict[str, Any]:
    """All values for the template."""
    metrics = metrics_of(run)
    record = record_of(run)
    config, starts, pretrained = data_settings(record)
    names = config.get("classes") or {}
    classes = [str(names.get(key) or key.title()) for key in ("correct", "incorrect")]
    subset = next((name for name in ("test", "val", "train") if (metrics.get(name) or {}).get("n")), None)
    split, history, bad_files = (table_of(run / name) for name in ("split.csv", "history.csv", "bad_files.csv"))
    epochs = [{name: number(value) for name, value in row.items()} for row in history]
    threshold = float(metrics["threshold"])
    predictions: list[dict[str, Any]]
    predictions = [{**row, "p": number(row["probability"])} for row in table_of(run / "predictions.csv")]
    by_path = {row["path"]: row for row in split}

    charts: dict[str, Any] = {"classes": classes, "history": epochs}
    if predictions and subset == "test":
        charts |= chart_data(predictions, by_path, classes[1], threshold, (metrics.get("head") or {}).get("platt"))
    checks = leak_checks(split)
    decisions = decisions_of(run, str(metrics.get("model_id") or ""))
    results, outdated = results_of(run, metrics, decisions[-1].decision if decisions else None)
    train = _again(record.command) if record is not None and record.command else "qc-lightning train photos/"
    steps, rules = [], rules_that_work(Run(run).validation, classes[1])
    if subset is not None:
        advised = Advised(str(run), pretrained, train, classes, rules)
        groups = group_advice(split, config, train, classes)
        steps = advice(metrics, subset, charts.get("sweep"), epochs, groups, len(bad_files), advised)
    return {
        **_metrics(metrics, subset, classes),
        **_pictures(run, predictions, by_path, classes[1], config, starts, results),
        "explanations": results["explain"],
        "robustness": results["robustness"],
        "latency": json_of(run / "latency.json"),
        "name": "/".join(run.resolve().parts[-2:]),
        "threshold": threshold,
        "decisions": decisions,
        "source": decisions[0].decision.source if decisions else "",
        "run": Run(run).argument,
        "train": train,
        "rules": rules,
        "warnings": [*metrics.get("warnings", []), *outdated, *(text for passed, text in checks if not passed)],
        "advice": steps,
        "charts": finite(charts),
        "samples": samples(charts.get("sweep")),
        "rows": _nearest(predictions, threshold),
        "total": len(predictions),
        "corrections": _corrections(config, starts[-1]),
        "split": split_counts(split, classes),
        "checks": checks,
        "bad_files": bad_files[:_MOST_BAD],
        "bad_total": len(bad_files),
        "epochs": epochs,
        "config": text_of(run / "config.yaml"),
        "commands": _commands(run, record),
    }


def _metrics(metrics: Mapping[str, Any], subset: str | None, classes: Sequence[str]) -> dict[str, Any]:
    """The values from metrics.json."""
    return {
        "metrics": metrics,
        "figure_names": shown_figures(metrics),
        "subset_names": {name: subset_name(metrics, name) for name in ("train", "val", "test")},
        "subset": subset,
        "classes": classes,
        "go_live": metrics.get("go_live"),
        "go_live_words": in_words(metrics["go_live"], classes) if "go_live" in metrics else [],
        "novelty": metrics.get("novelty"),
        "calibration": (metrics.get("calibration") or {}).get(subset),
        "meaning": _meaning(metrics.get("go_live")),
    }


def _pictures(
    run: Path,
    predictions: Sequence[Mapping[str, Any]],
    by_path: Mapping[str, Mapping[str, str]],
    incorrect: str,
    config: Mapping[str, Any],
    starts: Sequence[Path],
    results: Mapping[str, Mapping[str, Any] | None],
) -> dict[str, Any]:
    """Everything with photos or figures, taken in this order as long as it fits into the page.

    Args:
        run: the run folder.
        predictions: rows of predictions.csv, with the probability as a number, "p".
        by_path: rows of split.csv.
        incorrect: the user's name of that class.
        config: the data settings.
        starts: folders that relative paths may start from.
        results: of `results_of`.
    """
    bits, side = config.get("bit_depth"), config.get("image_size")
    photos = RunPhotos(starts, bits if isinstance(bits, int) else 16, side if isinstance(side, int) else 0)
    cameras = {path: row.get("camera") or "" for path, row in by_path.items()}
    pictures, with_heat = Pictures(), {} if results["explain"] is None else by_path
    return {
        "mistakes": mistakes(predictions, incorrect, with_heat, run, photos, pictures),
        "odd": most_novel(predictions, photos, pictures),
        "regions": region_pictures(predictions, config.get("cameras") or {"": config}, cameras, photos, pictures),
        **_drawings(run, results["robustness"], pictures),
        "left_out": pictures.left_out,
    }


def _drawings(run: Path, robustness: Mapping[str, Any] | None, pictures: Pictures) -> dict[str, Any]:
    """The pictures in figures/; that of robustness only with its values."""
    worse = run / "figures" / "robustness.png"
    figures = [
        {"name": path.stem.replace("_", " "), "data": data}
        for path in sorted((run / "figures").glob("*.png"))
        # two are drawn by the page itself, the third has its own place
        if path.stem not in ("learning_curves", "confusion_matrix", "robustness") and (data := pictures.figure(path))
    ]
    return {
        "figures": figures,
        "robustness_figure": pictures.figure(worse) if robustness and worse.is_file() else None,
    }


def _corrections(config: Mapping[str, Any], start: Path) -> list[dict[str, str]]:
    """The corrections applied to the run's photos, if the file still exists."""
    try:
        return read_corrections(start / Path(config["corrections"]).expanduser()) if config.get("corrections") else []
    except UserError:
        return []


def _meaning(answer: Mapping[str, Any] | None) -> list[tuple[float, float]]:
    """A probability of 0.9 at even odds, converted to each fraction of bad parts: (fraction, probability)."""
    return [(row["bad_share"], shifted(0.9, row["bad_share"])) for row in (answer or {}).get("per_1000", [])]


def _value(figure: Mapping[str, float | None]) -> str:
    return interval(figure).partition(" (")[0]


def _spread(figure: Mapping[str, float | None]) -> str:
    text = interval(figure).partition(" (")[2].rstrip(")")
    return f"95% interval {text}" if text else "unknown"


def _again(command: str) -> str:
    """The command for another run with the same settings, without this run's folder."""
    return shlex.join(word for word in shlex.split(command) if not word.startswith("hydra.run.dir="))


def _commands(run: Path, record: RunRecord | None) -> list[tuple[str, str]]:
    this = [("this run", record.command)] if record is not None else []
    return [*this, ("this page", shlex.join(["python", "-m", "qc_lightning.report.page", str(run)]))]


def _nearest(predictions: Sequence[dict[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """The photos closest to the threshold, from the highest probability down."""
    order = sorted(predictions, key=lambda row: abs((1.0 if row["p"] is None else row["p"]) - threshold))
    return sorted(order[:_MOST_ROWS], key=lambda row: -(1.0 if row["p"] is None else row["p"]))


if __name__ == "__main__":
    print(write_report(Path(sys.argv[1])))
