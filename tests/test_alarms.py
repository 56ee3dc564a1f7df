"""Alarms for a person, and counts by shift, from the log and the local time."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from qc_lightning.config.serving import ServeConfig
from qc_lightning.core.errors import UserError
from qc_lightning.inference.inspection import Inspection
from qc_lightning.inference.log_queries import first_since
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.counters import ALARMS
from qc_lightning.service.pages import operator_page
from qc_lightning.service.service import low_disk
from qc_lightning.service.shifts import Shifts, shift_start
from qc_lightning.service.streaks import Streaks
from test_log import entry, write

FINE = Inspection(None, "", Verdict.PASS, 0.1, -2.0, 0.5, 1.0, "", "m", 0.0, "", (90.0, 20.0))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("dark", replace(FINE, measures=(3.0, 1.0))),
        ("novelty", replace(FINE, novelty=2.5)),
        ("novelty", replace(FINE, novelty=float("nan"))),
        ("unreadable", replace(FINE, error="no photo", novelty=None, measures=())),
    ],
)
def test_three_photos_in_a_row_with_a_fault_are_an_alarm(name: str, fault: Inspection) -> None:
    clock = [0.0]
    streaks = Streaks(lambda: clock[0])
    for _ in range(2):
        streaks.add(fault, "top", 2.0)
    assert streaks.alarms == {}
    streaks.add(FINE, "side", 2.0)  # another camera, without a fault
    streaks.add(fault, "top", 2.0)
    assert streaks.alarms == {name: "top: 3 photos in a row"}
    streaks.add(FINE, "top", 2.0)
    assert streaks.alarms == {}
    for _ in range(3):
        streaks.add(fault, "top", 2.0)
    clock[0] = 601.0  # the page that used the camera is closed
    assert streaks.alarms == {}


def test_the_page_has_words_for_every_alarm() -> None:
    page = operator_page(("Correct", "Incorrect")).html
    for name in ALARMS:
        assert page.count(f'"alarm_{name}": ') == 3, name


def test_little_room_on_the_disk_is_said(tmp_path: Path) -> None:
    assert low_disk(tmp_path / "line.sqlite", 1.0) == ""
    assert "MB are left in" in low_disk(tmp_path / "line.sqlite", 1e18)


@pytest.mark.parametrize(
    ("now", "begun"),
    [
        (datetime(2026, 3, 2, 6, 0), datetime(2026, 3, 2, 6, 0)),
        (datetime(2026, 3, 2, 13, 59), datetime(2026, 3, 2, 6, 0)),
        (datetime(2026, 3, 2, 23, 0), datetime(2026, 3, 2, 22, 0)),
        (datetime(2026, 3, 2, 5, 59), datetime(2026, 3, 1, 22, 0)),
    ],
)
def test_a_shift_begins_by_the_clock_on_the_wall(now: datetime, begun: datetime) -> None:
    assert shift_start(now, [time(6), time(14), time(22)]) == begun


def test_counts_are_those_of_the_shift(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "line.sqlite")
    now = datetime.now()
    start = (now - timedelta(minutes=5)).replace(second=0, microsecond=0)

    def wrote(seconds: float, verdict: str, part: str = "") -> int:
        at = (start + timedelta(seconds=seconds)).astimezone(UTC).isoformat(timespec="milliseconds")
        return log.submit(entry(0)._replace(time=at, verdict=verdict, part=part)).result(30)

    for seconds in (-90, -1):
        wrote(seconds, "REJECT")
    wrote(0, "PASS")
    wrote(1, "REVIEW")
    shifts = Shifts(log.path, [start.time()])
    assert shifts.state() == {"since": start.isoformat(), "counts": {"PASS": 1, "REVIEW": 1, "REJECT": 0}}
    wrote(2, "PASS")
    wrote(3, "PASS", "master good")
    log.submit(entry(0).override(4, Verdict.PASS, "Anna", "")).result(30)
    for _ in range(2):
        assert shifts.state()["counts"] == {"PASS": 2, "REVIEW": 1, "REJECT": 0}
    log.close()


def test_the_first_row_of_a_time_is_found(tmp_path: Path) -> None:
    write(tmp_path / "a.sqlite", 25)
    for number in (0, 1, 13, 24):
        assert first_since(tmp_path / "a.sqlite", entry(number).time) == number + 1
    assert first_since(tmp_path / "a.sqlite", entry(25).time) == 26


@pytest.mark.parametrize("shifts", ["", "6", "06:00,25:00", "06:00;14:00"])
def test_what_is_no_time_is_one_line(shifts: str) -> None:
    with pytest.raises(UserError, match="shifts: expected times such as 06:00,14:00,22:00"):
        ServeConfig(model="a.onnx", shifts=shifts)
