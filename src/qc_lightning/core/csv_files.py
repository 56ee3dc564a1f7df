"""Tables as CSV, which people open in a spreadsheet: no text of theirs may run there as a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from qc_lightning.core.reading import read_text

_FORMULA = re.compile("'*[=+@\t\r-]")  # what a spreadsheet takes for one, behind marks
_MARK = "'"  # behind it, spreadsheets show the rest as text


class Marks(NamedTuple):
    """What a spreadsheet expects of a CSV: a German Excel wants `;` and `,`.

    Attributes:
        separator: between fields, one character.
        decimal: of numbers, . or another character than the separator.
    """

    separator: str = ","
    decimal: str = "."

    @property
    def start(self) -> str:
        """What the file begins with: without it a spreadsheet takes UTF-8 for another encoding."""
        return "" if self == Marks() else "\ufeff"

    def number(self, text: str) -> float:
        """A number as `csv_lines` wrote it.

        Raises:
            ValueError: it is none.
        """
        return float(text.replace(self.decimal, "."))


USUAL = Marks()


def csv_text(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A CSV file as text; None is an empty field, fields as of `harmless`."""
    return csv_lines([header, *lines])


def csv_lines(lines: Iterable[Sequence[object]], marks: Marks = USUAL) -> str:
    r"""Rows as lines of a CSV; fields as of `csv_text`.

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
    """Rows that a `csv.writer` ended in CR LF, ended in LF: Python quotes a CR only where rows end in one."""

    END = "\r\n"

    def write(self, row: str) -> None:
        """Keep a row; the writer calls this once for each."""
        self.append(row.removesuffix(self.END) + "\n")


def read_table(path: Path, encoding: str = "utf-8", errors: str = "strict") -> list[dict[str, str]]:
    """The rows of a CSV with a header, as `csv_text` was given them.

    Raises:
        OSError: it cannot be read; as of `read_bytes`.
        ValueError: it is no text of that encoding, was cut off, or a row has not as many fields as the header.
        csv.Error: it is no CSV.
    """
    text = read_text(path, encoding=encoding, errors=errors)
    if text and not text.endswith("\n"):
        raise ValueError("it is cut off")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    records = list(reader)
    for line, row in enumerate(records, start=2):
        if None in row or None in row.values():
            raise ValueError(f"row {line} has not as many fields as row 1")
    return [{name: as_given(value) for name, value in row.items()} for row in records]


def harmless(value: object) -> object:
    """A field that no spreadsheet runs: a text that begins like a formula gets an apostrophe before it.

    >>> harmless("=1+1"), harmless("-0.5"), harmless(-0.5), harmless("a=b")
    ("'=1+1", '-0.5', -0.5, 'a=b')
    """
    return _MARK + value if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value) else value


def as_given(field: str) -> str:
    """What `harmless` was given.

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
