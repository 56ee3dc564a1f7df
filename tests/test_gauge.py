"""Attribute agreement: the worked example of AIAG's Measurement Systems Analysis, hand-computed values, simulation."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from qc_lightning import gauge
from qc_lightning.metrics.agreement import cohen_kappa, fleiss_kappa, graded

# MSA, 4th edition, table III-C 1: 50 parts, appraisers A, B and C, three trials; 1 is acceptable. Parts on which all
# nine verdicts are the reference are left out.
_UNLIKE = {
    6: ("110 110 100", 1), 7: ("111 111 101", 1), 12: ("000 000 010", 0), 14: ("110 111 100", 1),
    21: ("110 101 010", 1), 22: ("001 010 110", 0), 26: ("010 000 001", 0), 30: ("000 001 000", 0),
    34: ("001 001 011", 0), 36: ("110 111 101", 1), 43: ("101 111 110", 1),
}  # fmt: skip
_REJECTED = {3, 4, 5, 9, 25, 37, 39, 42, 45, 48, 50}


def example(path: Path) -> Path:
    rows = ["part,appraiser,trial,verdict,reference"]
    for part in range(1, 51):
        truth = 0 if part in _REJECTED else 1
        verdicts, truth = _UNLIKE.get(part, (" ".join([str(truth) * 3] * 3), truth))
        for appraiser, trials in zip("ABC", verdicts.split(), strict=True):
            rows += [f"{part},{appraiser},{trial},{verdict},{truth}" for trial, verdict in enumerate(trials, 1)]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_the_worked_example_of_the_msa_manual(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(gauge.main, f"source={example(tmp_path / 'msa.csv')}") == 0
    found = json.loads((tmp_path / "gauge" / "gauge.json").read_text())

    def rounded(key: str, digits: int) -> list[float]:
        return [round(one["value"], digits) for one in found[key].values()]

    # as printed there: 42, 45 and 40 of 50 within appraisers and against the reference, 39 between appraisers
    assert rounded("within", 2) == rounded("effectiveness", 2) == [0.84, 0.90, 0.80]
    assert found["between"]["value"] == found["all_against_reference"]["value"] == 0.78
    assert rounded("miss_rate", 4) == [0.0625, 0.0625, 0.125]
    assert rounded("false_alarm_rate", 3) == [0.049, 0.020, 0.088]
    assert rounded("kappa_pairs", 2) == [0.86, 0.78, 0.79]
    assert rounded("kappa_reference", 2) == [0.88, 0.92, 0.77]
    assert found["grades"]["effectiveness"] == {"A": "marginal", "B": "acceptable", "C": "marginal"}
    assert found["grades"]["miss_rate"] == dict.fromkeys("ABC", "unacceptable")
    assert found["grades"]["kappa"] == dict.fromkeys("ABC", "acceptable"), "above 0.75"
    out = capsys.readouterr().out
    assert "84.0%" in out
    assert "6.3%" in out, "a half goes up, as it does there"
    page = (tmp_path / "gauge" / "gauge.html").read_text()
    assert "<script" not in page
    for said in (out, page):
        assert "effectiveness from 0.9 (below 0.8), miss_rate up to 0.02 (above 0.05)" in said


def test_cohens_kappa_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = rng.integers(0, 2, (2, 40, 3))
        expected = cohen_kappa_score(first.ravel(), second.ravel())
        assert cohen_kappa(first, second)["value"] == pytest.approx(expected, abs=1e-12)


def test_fleiss_kappa_is_the_published_one() -> None:
    """Ten subjects, 14 raters, five categories: 0.210 (Fleiss 1971's method, the example of many textbooks)."""
    counts = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
              [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    ratings = np.array([np.repeat(range(5), row) for row in counts])
    assert fleiss_kappa(ratings)["value"] == pytest.approx(0.20993, abs=1e-5)


def test_full_agreement_of_few_parts_is_no_certainty() -> None:
    same = np.repeat([0, 1], 25)[:, None]
    found = cohen_kappa(same, same)
    assert found["value"] == found["high"] == 1
    assert 0.85 < found["low"] < 0.95
    assert cohen_kappa(same * 0, same * 0)["value"] is None


def test_disagreement_about_every_part_is_nearly_sure() -> None:
    """If all 50 differ, at least 93% do at 97.5% confidence; by chance 58% would, as 15 and 35 parts are bad."""
    first = (np.arange(50) < 15)[:, None].astype(int)
    found = cohen_kappa(first, 1 - first)
    assert found["value"] == found["low"] == pytest.approx(1 - 1 / 0.58)
    assert found["high"] == pytest.approx(1 - 0.025 ** (1 / 50) / 0.58, abs=0.06)


@pytest.mark.parametrize("kappa", [0.6, 0.8, 0.9, 0.98])
def test_kappa_is_covered_as_often_as_is_said(kappa: float) -> None:
    """50 parts: with probability kappa two ratings are the same draw, else they are drawn independently."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(600):
        first, other = rng.random((2, 50)) < 0.5
        second = np.where(rng.random(50) < kappa, first, other)
        found = cohen_kappa(first[:, None].astype(int), second[:, None].astype(int))
        held += found["low"] <= kappa <= found["high"]
    assert 0.92 <= held / 600 <= (0.98 if kappa < 0.95 else 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("verdict,", "result,", 1), "there is no verdict"),
        (lambda text: text + "1,A,1,1,1\n", "A has judged part 1 in trial 1 twice"),
        (lambda text: text.replace("2,B,3,1,1\n", ""), "expected 3 trials of part 2 by B, got 2"),
        (lambda text: text.replace("2,B,3,1,1", "2,B,3,1,0"), "two references"),
        (lambda text: text.replace("2,B,3,1,1", "2,B,3,maybe,1"), "expected two verdicts"),
        (lambda text: text.replace("2,B,3,1,1", "2,B,3,,1"), "expected a verdict, got none"),
    ],
)
def test_a_table_that_is_no_study(
    change: Callable[[str], str],
    words: str,
    tmp_path: Path,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = example(tmp_path / "msa.csv")
    path.write_text(change(path.read_text()))
    assert call(gauge.main, f"source={path}", f"output={tmp_path / 'out'}") == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("limits", ["effectiveness=[0.8,0.9]", "miss_rate=[0.05,0.02]"])
def test_limits_the_wrong_way_round(
    limits: str, tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(gauge.main, f"source={example(tmp_path / 'msa.csv')}", f"output={tmp_path / 'out'}", limits) == 2
    assert "expected two shares, that of an acceptable appraiser first" in capsys.readouterr().err


def test_a_value_at_a_limit_gets_the_better_grade() -> None:
    assert [graded(value, [0.02, 0.05], more_is_better=False) for value in (0.02, 0.05, 0.06, None)] == [
        "acceptable", "marginal", "unacceptable", "unknown",
    ]  # fmt: skip


def test_fleiss_kappa_is_that_of_statsmodels() -> None:
    """statsmodels 0.15.0: fleiss_kappa(aggregate_raters(ratings)[0]) of the same ratings."""
    rng = np.random.default_rng(5)
    for parts, raters, expected in ((50, 3, 0.5200000000000001), (40, 9, 0.5081481481481482)):
        truth = rng.random(parts) < 0.3
        ratings = np.where(rng.random((parts, raters)) < 0.85, truth[:, None], ~truth[:, None]).astype(int)
        assert fleiss_kappa(ratings)["value"] == pytest.approx(expected, abs=1e-12)
