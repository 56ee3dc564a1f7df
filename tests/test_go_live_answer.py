"""What test photos say about going live: counted by hand."""

import json

import numpy as np
import pytest

from qc_lightning.metrics.certificate import upper_bound
from qc_lightning.metrics.go_live import doubt, go_live, in_words
from settings import decision_settings


def verdicts(passed: int, reviewed: int, rejected: int) -> list[str]:
    return ["PASS"] * passed + ["REVIEW"] * reviewed + ["REJECT"] * rejected


def answer(bad: list[str], good: list[str], **target: float) -> dict:
    label = np.array([1] * len(bad) + [0] * len(good))
    part = [str(i) for i in range(len(label))]
    return go_live(np.array(bad + good), label, part, decision_settings(**target))


def test_one_of_36_says_nothing_about_5_percent() -> None:
    found = answer(verdicts(1, 0, 35), verdicts(40, 5, 5), escape_rate=0.05, bad_share=0.01)
    assert found["claim"]["escape_rate"] == pytest.approx(upper_bound(1, 36))
    assert found["claim"]["escape_rate"] == pytest.approx(0.125, abs=5e-4)
    assert found["answer"] == "not shown"
    assert (found["needed"]["incorrect_parts"], found["needed"]["more"]) == (59, 23)
    assert found["needed"]["with_these_escapes"] == 93
    (row,) = found["per_1000"]
    assert row["bad"] == pytest.approx(10)
    assert row["escaped"]["value"] == pytest.approx(10 / 36)
    assert row["caught"]["value"] == pytest.approx(350 / 36)
    assert row["rejected_for_nothing"]["value"] == pytest.approx(99)
    assert row["to_review"]["value"] == pytest.approx(99)
    text = " ".join(in_words(found, ("ok", "scratched")))
    assert "1 of 36 scratched parts passed" in text
    assert "an escape rate above 12.5% at 95% confidence" in text
    assert "No overkill rate was asked for: 5 of 50 ok parts were rejected." in text
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("passed", "said"), [(0, "yes"), (1, "not shown"), (12, "no")])
def test_yes_no_or_not_shown(passed: int, said: str) -> None:
    assert answer(verdicts(passed, 0, 60 - passed), verdicts(60, 0, 0), escape_rate=0.05)["answer"] == said
    assert answer(verdicts(passed, 0, 60 - passed), verdicts(60, 0, 0))["answer"] is None


def test_a_part_passes_only_where_all_its_photos_pass() -> None:
    label, part = np.array([1, 1, 1, 1, 0, 0]), ["a", "a", "b", "b", "c", "c"]
    found = go_live(np.array(["PASS", "REJECT", "PASS", "PASS", "PASS", "REJECT"]), label, part, decision_settings())
    claim = found["claim"]
    assert (claim["escapes"], claim["incorrect_parts"], claim["overkills"], claim["correct_parts"]) == (1, 2, 1, 1)


def test_no_incorrect_part_claims_nothing() -> None:
    found = answer([], verdicts(30, 0, 0), escape_rate=0.05)
    assert (found["claim"]["escape_rate"], found["answer"]) == (None, "not shown")
    assert "Escapes are unknown" in " ".join(in_words(found))


def test_parts_that_all_passed_exclude_no_escape_rate() -> None:
    assert in_words(answer(verdicts(27, 0, 0), verdicts(26, 1, 0)))[0] == (
        "27 of 27 Incorrect parts passed: any escape rate up to 100% is possible."
    )


def test_a_run_that_tells_nothing_apart_is_named() -> None:
    part = {"n": 20, "confusion_matrix": [[10, 0], [10, 0]], "balanced_accuracy": {"low": 0.4}}
    assert "passes every one of its 20 test photos" in doubt({"test": part})
    reviewed = {"correct": {"PASS": 9, "REVIEW": 1, "REJECT": 0}, "incorrect": {"PASS": 10, "REVIEW": 0, "REJECT": 0}}
    assert "rejects none of its 20 test photos" in doubt({"test": part | {"verdicts": reviewed}})
    part["confusion_matrix"] = [[6, 4], [4, 6]]
    assert "not clearly better than guessing" in doubt({"test": part})
    part["balanced_accuracy"] = {"low": 0.6}
    assert doubt({"test": part}) == ""
    assert "nothing is known" in doubt({})
