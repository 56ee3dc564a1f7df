"""Outputs of an audit: audit.csv, audit.json, and the console table."""

import datetime
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from qc_lightning.core.atomic import write_json, write_text
from qc_lightning.core.csv_files import csv_text
from qc_lightning.core.errors import UserError
from qc_lightning.core.room import check_room
from qc_lightning.data.checks.findings import Check
from qc_lightning.data.dataset import PhotoSet

_WIDTH = 118
_TITLES = {"look": "look at", "fine": "nothing to do", "not checked": "not checked"}


def free_folder(output: str | None) -> Path:
    """The output folder, which is not created yet.

    Raises:
        UserError: `output` exists already or cannot be written.
    """
    dated = Path("outputs/audits") / f"{datetime.datetime.now():%Y-%m-%d/%H-%M-%S}"
    folder = dated if output is None else Path(output).expanduser()
    if output is not None and folder.exists():
        raise UserError(f"{folder} already exists: remove it or give another output=")
    check_room(folder)
    return folder


def write_tables(folder: Path, checks: Sequence[Check]) -> None:
    """Write audit.csv with one row per finding, and audit.json with one entry per check."""
    lines = [(check.name, finding.path, finding.other, finding.value) for check in checks for finding in check.findings]
    write_text(folder / "audit.csv", csv_text(("check", "path", "other", "value"), lines))
    entries = [
        {
            "name": check.name,
            "result": check.result,
            "flagged": check.flagged,
            "value": check.value,
            "low": check.low,
            "high": check.high,
            "photos": check.photos,
            "text": check.text,
        }
        for check in checks
    ]
    write_json(folder / "audit.json", {"checks": entries})


def table(checks: Sequence[Check], photos: PhotoSet, seconds: Mapping[str, float]) -> str:
    """The findings as a table, flagged ones first."""
    count, groups = len(photos.photos), len({photo.group for photo in photos.photos})
    lines = [f"{count} photos, {groups} groups (parts)", ""]
    for result in ("look", "fine", "not checked"):
        some = [check for check in checks if check.result == result]
        if some:
            lines.append(_TITLES[result])
        for check in some:
            words = textwrap.wrap(f"{check.name}: {check.text}", _WIDTH - 4, subsequent_indent="    ")
            lines += [f"  {line}" for line in words]
    lines += ["", ", ".join(f"{stage} {spent:.1f} s" for stage, spent in seconds.items()), ""]
    return "\n".join(lines)
