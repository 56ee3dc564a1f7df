"""Checks for the values of settings; an error is one line with what was expected and what came."""

import re
from collections.abc import Sequence

from qc_lightning.core.errors import UserError


def check(valid: bool, key: str, expected: str, got: object) -> None:
    """Raise the one-line UserError for `key` unless `valid`."""
    if not valid:
        raise UserError(f"{key}: expected {expected}, got {got!r}")


def check_choice(key: str, got: object, choices: Sequence[object]) -> None:
    """Raise UserError unless `got` is one of `choices`."""
    check(got in choices, key, "one of " + ", ".join(map(str, choices)), got)


def check_device(got: str) -> None:
    """Raise UserError unless `got` is the name of a device; whether it exists is checked later, with torch."""
    check(re.fullmatch(r"auto|cpu|cuda(:\d+)?", got) is not None, "device", "auto, cpu, cuda or cuda:<n>", got)


def check_marks(separator: str, decimal: str) -> None:
    """Raise UserError unless a CSV with that separator and decimal mark can be read back."""
    valid = len(separator) == 1 and separator not in '"\r\n' and decimal in (".", ",") and separator != decimal
    check(valid, "separator, decimal", "one character, and another one of . and ,", separator + decimal)
