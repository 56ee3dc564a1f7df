"""The manifest's column `kind`: escapes by kind of defect."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from qc_lightning import evaluate
from qc_lightning.metrics.kinds import by_kind, in_words


def test_escapes_of_a_kind_by_hand() -> None:
    verdicts = np.array(["PASS", "REJECT", "PASS", "REVIEW", "REJECT", "PASS", "PASS"])
    label = np.array([1, 1, 1, 1, 1, 0, 1])
    kind = ["scratch", "scratch", "scratch", "dent", "dent", "scratch", ""]
    found = by_kind(verdicts, label, [str(i) for i in range(7)], kind)
    assert list(found) == ["(no kind given)", "scratch", "dent"], "the worst first"
    assert (found["scratch"]["n"], found["scratch"]["escapes"]) == (3, 2)
    rate = found["scratch"]["escape_rate"]
    low, high = binomtest(2, 3).proportion_ci(method="wilson")
    assert (rate["value"], rate["low"], rate["high"]) == pytest.approx((2 / 3, low, high), abs=1e-9)
    assert found["dent"]["escape_rate"]["value"] == 0
    assert in_words(found)[1].startswith("scratch          2 of 3 escaped, 67% (")
    assert by_kind(verdicts, label, ["one"] * 7, [""] * 7) == {}
    assert by_kind(verdicts, label, ["one"] * 7, ["", "", "", "", "", "scratch", ""]) == {}, "of a Correct part"


def test_kinds_reach_console_files_and_report(
    photo_root: Path,
    tmp_path: Path,
    train: Callable[..., tuple[int, Path, str]],
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [(str(path), path.parent.name, ("dent", "<b>")[i % 2] * (path.parent.name == "Incorrect"))
            for i, path in enumerate(sorted(photo_root.glob("*/*.png")))]  # fmt: skip
    manifest = tmp_path / "labels.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "kind"), *rows])
    code, run, out = train(f"data.manifest={manifest}", "data.image_size=16", "trainer.max_epochs=2")
    assert code == 0
    assert "escapes by kind of defect" in out
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert set(metrics["kinds"]) == {"dent", "<b>"}
    assert sum(kind["n"] for kind in metrics["kinds"].values()) == sum(metrics["confusion_matrix"][1])
    assert "<bdi>&lt;b&gt;</bdi>" in (run / "report.html").read_text()
    assert call(evaluate.main, f"run={run}", "name=own") == 0
    assert "the metrics equal those of the training, to the last digit" in capsys.readouterr().out
    again = json.loads((run / "evaluations/own/metrics.json").read_text())["test"]
    assert again["kinds"] == metrics["kinds"], "split.csv has kept them"
