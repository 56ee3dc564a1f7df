"""Keep names in charts legible: in the user's script if a font on this machine has it, else in neutral words."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIRST = "DejaVu Sans"  # matplotlib's own font, used for all figures
_MISSING = "?"


def class_names(classes: tuple[str, str]) -> tuple[str, str]:
    """The user's names of the two classes, or Correct and Incorrect if no font on this machine can draw them."""
    drawn = all(_family(sign) for name in classes for sign in name)
    return classes if drawn else ("Correct", "Incorrect")


def make_legible(figure: "Figure") -> None:
    """Choose fonts for each text of a chart by its characters; a character without a font becomes a question mark.

    Matplotlib would draw the same box for all missing characters, and warn about each.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        words = text.get_text()
        if words.isascii():
            continue
        families = {sign: _FIRST if sign.isspace() else _family(sign) for sign in words}
        text.set_text("".join(sign if families[sign] else _MISSING for sign in words))
        others = sorted({family for family in families.values() if family} - {_FIRST})
        if others:
            text.set_fontfamily([_FIRST, *others])


@cache
def _family(sign: str) -> str | None:
    """The first font on this machine with a character, matplotlib's own first."""
    if sign.isascii() and sign.isprintable():
        return _FIRST
    from matplotlib.font_manager import fontManager

    real = [font for font in fontManager.ttflist if not font.name.startswith("Last Resort")]  # has a box for every sign
    fonts = sorted(real, key=lambda font: (font.name != _FIRST, font.style != "normal", font.name))
    return next((font.name for font in fonts if ord(sign) in _charmap(font.fname)), None)


@cache
def _charmap(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # removed since matplotlib made its list, or of an unreadable format
        return frozenset()
