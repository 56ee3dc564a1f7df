"""One verdict per part: the worst photo decides, and a part with a missing view never passes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qc_lightning.metrics.compute import evaluate
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.parts import PartTracker, PartVerdict, View, part_verdict
from qc_lightning.metrics.table import table
from qc_lightning.metrics.verdict import Verdict

GOOD, DOUBTFUL, BAD = View(Verdict.PASS, 0.1), View(Verdict.REVIEW, 0.5, "cannot tell"), View(Verdict.REJECT, 0.9)
views = st.dictionaries(st.text(max_size=3), st.sampled_from([GOOD, DOUBTFUL, BAD]), min_size=1, max_size=6)


@given(views, st.integers(1, 6))
def test_the_worst_photo_decides(seen: dict[str, View], expected: int) -> None:
    found = part_verdict("7", seen, expected)
    said = {view.verdict for view in seen.values()}
    if Verdict.REJECT in said:
        assert found.verdict == Verdict.REJECT
    elif Verdict.REVIEW in said or len(seen) < expected:
        assert found.verdict == Verdict.REVIEW
        assert found.reason
    else:
        assert found.verdict == Verdict.PASS
    assert found.missing == max(0, expected - len(seen))
    assert seen[found.worst].probability == found.probability == max(view.probability or 0 for view in seen.values())


def test_a_photo_that_cannot_be_read_is_worse_than_any_that_passes() -> None:
    found = part_verdict("7", {"left": GOOD, "right": View(Verdict.REVIEW, None, "cannot be read")})
    assert (found.verdict, found.worst, found.reason) == (Verdict.REVIEW, "right", "cannot be read")


def test_a_part_gets_its_verdict_with_its_last_view() -> None:
    tracker = PartTracker(expected=2, wait=10)
    assert tracker.add("7", "left", GOOD, 0.0) is None
    assert tracker.add("8", "left", GOOD, 1.0) is None
    assert tracker.add("7", "right", BAD, 2.0) == PartVerdict("7", Verdict.REJECT, "right", 0.9, 2, 0, "")
    assert tracker.waiting == 1


def test_a_missing_view_is_review_after_a_waiting_time() -> None:
    tracker = PartTracker(expected=2, wait=10)
    tracker.add("7", "left", GOOD, 0.0)
    tracker.add("8", "left", BAD, 5.0)
    assert tracker.due(9.9) == []
    (late,) = tracker.due(10.0)
    assert (late.part, late.verdict, late.missing, late.reason) == ("7", Verdict.REVIEW, 1, "1 of 2 views is missing")
    assert [(part.part, part.verdict) for part in tracker.due(15.0)] == [("8", Verdict.REJECT)]
    assert tracker.due(99.0) == []
    found = tracker.add("7", "right", GOOD, 100.0)  # late, but it arrives
    assert found is not None
    assert found.verdict == Verdict.PASS


def test_a_view_that_is_taken_again_replaces_the_earlier_one() -> None:
    tracker = PartTracker(expected=1)
    assert tracker.add("7", "left", BAD, 0.0).verdict == Verdict.REJECT
    assert tracker.add("7", "left", GOOD, 1.0).verdict == Verdict.PASS


def test_forgotten_parts_begin_again_so_that_memory_ends() -> None:
    tracker = PartTracker(expected=2, wait=1, remembered=3)
    for number in range(100):
        tracker.add(str(number), "left", BAD, float(number))
        tracker.add(str(number), "right", BAD, float(number))
    assert [part.part for part in tracker.every()] == ["97", "98", "99"]
    assert tracker.add("0", "right", GOOD, 200.0) is None
    assert [part.verdict for part in tracker.due(300.0)] == [Verdict.REVIEW], "one view is missing again"


def test_figures_by_part_by_hand() -> None:
    """Part a is bad and caught on one of its photos, b is bad and passes, c is good and rejected, d and e are good."""
    part = ["a", "a", "b", "b", "c", "c", "d", "e"]
    label = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    p = np.array([0.1, 0.9, 0.2, 0.3, 0.8, 0.1, 0.2, 0.4])
    found = evaluate(p, np.log(p / (1 - p)), label, part, Decision(0.5, ""))
    parts = found["parts"]
    assert parts["n"] == 5
    assert parts["escape_rate"]["value"] == 0.5
    assert parts["overkill_rate"]["value"] == pytest.approx(1 / 3)
    assert (parts["overkill_rate"]["low"], parts["overkill_rate"]["high"]) == pytest.approx(
        (0.0615, 0.7923), abs=5e-5
    )  # Wilson's interval of 1 in 3
    assert parts["verdicts"]["incorrect"] == {"PASS": 1, "REVIEW": 0, "REJECT": 1}
    assert found["escape_rate"]["value"] == 0.75, "3 of the 4 bad photos pass"
    lines = table({"test": found}).splitlines()
    assert [line.split("  ")[0] for line in lines[1:5]] == ["photos", "parts", "escape rate by part",
                                                            "overkill rate by part"]  # fmt: skip
    assert "parts" not in evaluate(p, p, label, None, Decision(0.5, ""))


def test_the_worst_photo_of_one_verdict_is_the_likelier_one_and_one_without_a_probability_is_worse():
    views = {"a": View(Verdict.REVIEW, 0.4), "b": View(Verdict.REVIEW, 0.5), "c": View(Verdict.PASS, 0.9)}
    assert part_verdict("1", views).worst == "b"
    assert part_verdict("1", {**views, "d": View(Verdict.REVIEW, None, "unreadable")}).worst == "d"


def test_a_missing_view_is_counted_and_a_rejected_part_stays_rejected():
    seen = {"a": View(Verdict.REJECT, 0.9)}
    assert (part_verdict("1", seen, expected=3).missing, part_verdict("1", seen, expected=3).verdict) == (2, "REJECT")
    assert part_verdict("1", seen).missing == 0 == part_verdict("1", {**seen, "b": seen["a"]}, expected=1).missing
