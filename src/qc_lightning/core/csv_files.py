"""CSV tables that are safe to open in a spreadsheet: no text can run there as a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from qc_lightning.core.reading import read_text

_FORMULA = re.compile("'*[=+@\t\r-]")  # what a spreadsheet takes for a formula, after any apostrophes
_MARK = "'"  # spreadsheets show what follows as text


class Marks(NamedTuple):
    """Field separator and decimal mark of a CSV; a German Excel expects `;` and `,`.

    Attributes:
        separator: between fields, one character.
        decimal: of numbers, . or another character than the separator.
    """

    separator: str = ","
    decimal: str = "."

    @property
    def start(self) -> str:
        """Byte order mark, without which some spreadsheets misread UTF-8; empty for the usual marks."""
        return "" if self == Marks() else "\ufeff"

    def number(self, text: str) -> float:
        """A number as `csv_lines` wrote it.

        Raises:
            ValueError: it is not valid.
        """
        return float(text.replace(self.decimal, "."))


USUAL = Marks()


def csv_text(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A CSV file as text; None is an empty field, and text is escaped by `harmless`."""
    return csv_lines([header, *lines])


def csv_lines(lines: Iterable[Sequence[object]], marks: Marks = USUAL) -> str:
    r"""Rows as lines of a CSV; fields as for `csv_text`.

    >>> csv_lines([(0.25, None, "=1+1", "a;b")], Marks(";", ","))
    '0,25;;\'=1+1;"a;b"\n'
    """

    def cell(value: object) -> object:
        return str(value).replace(".", marks.decimal) if isinstance(value, float) else harmless(value)

    written = _Lines()
    writer = csv.writer(written, delimiter=marks.separator, lineterminator=written.END)
    writer.writerows([cell(value) for value in row] for row in lines)
    return "".join(written)


class _Lines(list[str]):
    """Collects rows of a `csv.writer` with LF instead of CR LF: Python quotes a CR only if rows end in one."""

    END = "\r\n"

    def write(self, row: str) -> None:
        """Keep a row; the writer calls this once for each."""
        self.append(row.removesuffix(self.END) + "\n")


def read_table(path: Path, errors: str = "strict") -> list[dict[str, str]]:
    """Read the rows of a CSV with a header; undoes `csv_text`.

    Raises:
        OSError: it cannot be read, as for `read_bytes`.
        ValueError: it is not UTF-8, is cut off, or a row and the header differ in length.
        csv.Error: it is not a CSV.
    """
    text = read_text(path, errors=errors)
    if text and not text.endswith("\n"):
        raise ValueError("it is cut off")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    records = list(reader)
    for line, row in enumerate(records, start=2):
        if None in row or None in row.values():
            raise ValueError(f"row {line} has not as many fields as row 1")
    return [{name: as_given(value) for name, value in row.items()} for row in records]


def harmless(value: object) -> object:
    """Escape a field for spreadsheets: text that begins like a formula gets a leading apostrophe.

    >>> harmless("=1+1"), harmless("-0.5"), harmless(-0.5), harmless("a=b")
    ("'=1+1", '-0.5', -0.5, 'a=b')
    """
    return _MARK + value if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value) else value


def as_given(field: str) -> str:
    """Undo `harmless`.

    >>> as_given("'=1+1"), as_given("'quoted'")
    ('=1+1', "'quoted'")
    """
    return field[1:] if field[:1] == _MARK and _FORMULA.match(field, 1) else field


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
