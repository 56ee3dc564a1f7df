"""Releases: names, given on purpose, for a run and a decision; the line uses them."""

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from qc_lightning.core.atomic import write_json
from qc_lightning.core.errors import UserError
from qc_lightning.core.lock import in_turn
from qc_lightning.core.reading import RECORD, read_text

RELEASES = Path("outputs", "releases")
_FORMAT = 1
_KEPT = ("run", "decision", "who", "when", "why")  # of what a name pointed at before


@dataclass(frozen=True)
class Release:
    """One release, `outputs/releases/<name>.json`.

    Attributes:
        name: letters, digits, dots, dashes and underscores.
        run: the run's folder.
        model_id: id of its model.
        decision: number of the decision, 1 for the training's own.
        digest: of that decision.
        certified: whether the decision has a certificate.
        who: the person who made the release.
        when: ISO 8601 with the offset from UTC.
        why: the reason, in that person's words.
        former: previous targets, newest last: {"run", "decision", "who", "when", "why"}.
    """

    name: str
    run: str
    model_id: str
    decision: int
    digest: str
    certified: bool
    who: str
    when: str
    why: str
    former: tuple[dict[str, object], ...] = ()

    def write(self) -> Path:
        """Write the release; its previous target is appended to `former`."""
        path = path_of(self.name)
        RELEASES.mkdir(parents=True, exist_ok=True)
        with in_turn(RELEASES):
            before = read(self.name) if path.is_file() else None
            former: tuple[dict[str, object], ...] = ()
            if before is not None:
                kept = {key: getattr(before, key) for key in _KEPT}
                former = (*before.former, kept)
            content = asdict(replace(self, former=former))
            write_json(path, {"format": _FORMAT, **content})
        return path


def path_of(name: str) -> Path:
    """The file of a release.

    Raises:
        UserError: it is not a valid name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == "latest":
        raise UserError(f"name: expected letters, digits, dots, dashes and underscores, not latest, got {name!r}")
    return RELEASES / f"{name}.json"


def read(name: str) -> Release:
    """Read a release.

    Raises:
        UserError: there is none of that name, or its file is damaged.
    """
    path = path_of(name)
    try:
        content = json.loads(read_text(path, RECORD))
        if content["format"] != _FORMAT:
            raise UserError(
                f"{path}: expected format {_FORMAT}, got {content['format']!r}: use the release that wrote it"
            )
        values = {field.name: _checked(field.name, content[field.name]) for field in fields(Release)}
    except FileNotFoundError:
        names = ", ".join(release.name for release in all_releases()) or "none"
        raise UserError(f"there is no release {name} below {RELEASES}; there is: {names}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): give the name again with qc-lightning release") from error
    return Release(**values | {"former": tuple(values["former"])})


def _checked(name: str, value: Any) -> Any:
    """A field of a release; raises TypeError when it is of another type."""
    expected = {"decision": int, "certified": bool, "former": list}.get(name, str)
    if not isinstance(value, expected):
        raise TypeError(f"{name} is {value!r}")
    if isinstance(value, list) and not all(isinstance(one, dict) and one.keys() >= set(_KEPT) for one in value):
        raise TypeError("former is damaged")
    return value


def all_releases() -> list[Release]:
    """All releases below ./outputs, sorted by name."""
    return [read(path.stem) for path in sorted(RELEASES.glob("*.json"))]
