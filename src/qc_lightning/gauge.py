"""Attribute agreement study of the model and the inspectors: `qc-lightning gauge verdicts.csv`."""

from pathlib import Path
from typing import Any

from qc_lightning.cli.app import run_command
from qc_lightning.config import GaugeConfig


def gauge(config: GaugeConfig) -> dict[str, Any]:
    """Analyse the verdicts of several appraisers; writes gauge.json and gauge.html and returns the metrics.

    Raises:
        UserError: the table does not have the expected columns or values.
    """
    from qc_lightning.core.atomic import write_json, write_text
    from qc_lightning.evaluation.gauge_study import limits_in_words, page, read_study, result_lines
    from qc_lightning.metrics.agreement import analyse, grades

    source, folder = Path(config.source or "").expanduser(), Path(config.output).expanduser()
    study = read_study(source)
    analysis = analyse(study, config.confidence)
    limits = {name: getattr(config, name) for name in ("effectiveness", "miss_rate", "false_alarm_rate", "kappa")}
    graded = grades(analysis, limits)
    lines = result_lines(analysis, graded)
    note = f"{len(study.parts)} parts, {len(study.appraisers)} appraisers, {study.verdict.shape[2]} trials each"
    note += ", against a reference." if study.reference is not None else "; no reference: nobody knows who is right."
    notes = [note, limits_in_words(limits)] if graded else [note]
    write_json(folder / "gauge.json", analysis | {"limits": limits, "grades": graded, "confidence": config.confidence})
    write_text(folder / "gauge.html", page(source.name, lines, notes, f"{100 * config.confidence:.4g}%"))

    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    print("\n".join(notes) + "\n")
    for line in lines:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]).rstrip())
    print(f"\ngauge: {folder / 'gauge.html'}")
    return analysis


def main() -> None:
    """Run the command."""
    run_command(gauge, "gauge")


if __name__ == "__main__":
    main()
