"""Start of the commands that run on the line: `key=value` settings, checked as usual, without Hydra and YAML."""

import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from qc_lightning.cli.exit_codes import exit_codes, show
from qc_lightning.config.build import build
from qc_lightning.config.settings import settings_of
from qc_lightning.core.console import escape_unprintable
from qc_lightning.core.errors import UserError

T = TypeVar("T")

_WORDS = {"null": None, "none": None, "true": True, "false": False}


def run_plain(command: Callable[[T], Any], schema: type[T], path: str) -> None:
    """Run `command` with the settings of the command line; exit codes as in `exit_codes`.

    Args:
        command: takes the settings.
        schema: their dataclass, with defaults for what may be left out; `--help` prints its docstring above them.
        path: the settings that arguments without `=` are the values of, in order, with spaces between.
    """
    escape_unprintable()
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        show(f"{inspect.getdoc(schema)}\n\nSettings, given as key=value:\n\n{_settings(schema)}")
        return
    with exit_codes():
        command(build(schema, _parse(arguments, schema, path)))


def _parse(arguments: list[str], schema: type, path: str) -> dict[str, object]:
    """Each setting's value as plain data; text settings are taken literally."""
    texts = {setting.name for setting in settings_of(schema) if setting.text}
    settings: dict[str, object] = {}
    bare = iter(path.split())
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key.isidentifier():
            key, value = next(bare, ""), argument
            if not key:
                raise UserError(f"expected key=value, got '{argument}'; --help lists all settings")
        if not value:  # such as log=$LOG without the variable: nothing may be left out in silence
            raise UserError(f"{key}: expected a value, got none: leave {key}= out for the default")
        settings[key] = None if value == "null" else value if key in texts else _value(value)
    return settings


def _value(text: str) -> object:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _settings(schema: type) -> str:
    lines = []
    for setting in settings_of(schema):
        missing = "null" if setting.optional else ""
        default = missing if setting.default is None else str(setting.default).lower()
        lines.append(f"  {f'{setting.name}={default}':<28}{setting.comment}".rstrip())
    return "\n".join(lines)
