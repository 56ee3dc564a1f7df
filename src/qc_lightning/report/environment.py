"""Common base of all pages: templates with escaped values, and one style sheet."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDER = Path(__file__).parent


@cache
def environment(folder: Path) -> "Environment":
    """The Jinja environment for the templates of a folder and of this package; an undefined name is an error.

    Cached for the process: compiling the report's template takes 0.2 s, and a sweep writes a page per job.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style() -> "Markup":
    """The style sheet, as trusted markup."""
    from markupsafe import Markup

    return Markup((FOLDER / "report.css").read_text(encoding="utf-8"))
