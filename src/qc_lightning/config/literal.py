"""Text on Hydra's command line, taken literally: paths and names may hold any characters."""

import re

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_SWEEPS = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|int|float|str|bool)\(.*\)", re.DOTALL)


def quoted(text: str) -> str:
    r"""A text as a value that Hydra reads as this text.

    >>> print(quoted("photos (2024)"), quoted("o'brien"), quoted("C:\\"))
    'photos (2024)' 'o\'brien' 'C:\\'
    """
    text = escaped(text)
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    ending = len(text) - len(text.rstrip("\\"))  # Hydra halves backslashes before a quote, the closing one too
    return f"'{text}{text[len(text) - ending :]}'"


def escaped(text: str) -> str:
    """A text that OmegaConf looks nothing up in."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def is_quoted(value: str) -> bool:
    """Whether a value is quoted already, as Hydra's grammar has it."""
    return _QUOTED.fullmatch(value) is not None


def literal(value: str, exists: bool, swept: bool) -> str:
    """A text value as it was typed, as Hydra is to read it.

    Args:
        value: what stands behind `=`; quotes around all of it are the user's own and stay.
        exists: whether there is a file or folder of just that name.
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
