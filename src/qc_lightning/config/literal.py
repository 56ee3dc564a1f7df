"""Literal text on Hydra's command line: paths and names may contain any characters."""

import re

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_SWEEPS = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|int|float|str|bool)\(.*\)", re.DOTALL)


def quoted(text: str) -> str:
    r"""Quote a text so that Hydra reads it literally.

    >>> print(quoted("photos (2024)"), quoted("o'brien"), quoted("C:\\"))
    'photos (2024)' 'o\'brien' 'C:\\'
    """
    text = escaped(text)
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    ending = len(text) - len(text.rstrip("\\"))  # Hydra halves backslashes before a quote, the closing one too
    return f"'{text}{text[len(text) - ending :]}'"


def escaped(text: str) -> str:
    """Escape a text so that OmegaConf does not interpolate it."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def is_quoted(value: str) -> bool:
    """Whether a value is already quoted by Hydra's grammar."""
    return _QUOTED.fullmatch(value) is not None


def literal(value: str, exists: bool, swept: bool) -> str:
    """Convert a text value as typed to a value that Hydra reads literally.

    Args:
        value: the text after `=`; quotes around all of it are kept.
        exists: whether a file or folder with exactly that name exists.
        swept: whether commas separate several values, as with -m.
    """
    if exists:
        return quoted(value)
    if not value or is_quoted(value) or (swept and _SWEEPS.fullmatch(value)):
        return value
    if swept and "," in value:
        parts = re.findall(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^,])+""", value)
        return ",".join(part.strip() if is_quoted(part.strip()) else quoted(part.strip()) for part in parts)
    return quoted(value)
