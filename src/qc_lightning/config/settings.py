"""Read names, types and help comments of the settings in a dataclass."""

import ast
import inspect
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from qc_lightning.config.build import choices_of, parts_of


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: dotted, as on the command line.
        comment: its comment in the dataclass, the help text.
        text: whether its value is text, which the command line takes literally.
        optional: whether it may be null.
        open: whether it accepts any nested names, like `trainer`.
        parent: whether it is a dataclass with nested settings.
        default: from the dataclass; None if `conf/` has it.
    """

    name: str
    comment: str
    text: bool
    optional: bool
    open: bool
    parent: bool
    default: object


def settings_of(schema: type, prefix: str = "") -> list[Setting]:
    """All settings of a dataclass, including nested ones; parents come before their children."""
    settings, hints, comments = [], typing.get_type_hints(schema), _comments(schema)
    for field in fields(cast(Any, schema)):
        hint = hints[field.name]
        parts, choices = parts_of(hint), choices_of(hint)
        if len(choices) == 1:  # what tells a dataclass from the others; chosen by its group
            continue
        parent, is_open = is_dataclass(parts[0]), typing.get_origin(parts[0]) in (dict, Mapping)
        name, comment = f"{prefix}{field.name}", comments.get(field.name, "")
        if choices:
            comment = f"{' | '.join(map(str, choices))}; {comment}"
        text = parts[0] is str or isinstance((*choices, None)[0], str)
        default = None if field.default is MISSING else field.default
        optional = type(None) in typing.get_args(hint)
        settings.append(Setting(name, comment, text, optional, is_open, parent, default))
        if parent:
            below = [setting for part in parts for setting in settings_of(part, f"{name}.")]
            settings += {setting.name: setting for setting in below}.values()
    return settings


def defaults_of(schema: type) -> dict[str, Any]:
    """The defaults of a dataclass as plain data; `???` for a missing default."""
    hints = typing.get_type_hints(schema)
    plain: dict[str, Any] = {}
    for field in fields(cast(Any, schema)):
        parts = parts_of(hints[field.name])
        if is_dataclass(parts[0]):
            plain[field.name] = {key: value for part in parts for key, value in defaults_of(part).items()}
        elif typing.get_origin(parts[0]) in (dict, Mapping):
            plain[field.name] = {}
        else:
            plain[field.name] = "???" if field.default is MISSING else field.default
    return plain


def _comments(schema: type) -> dict[str, str]:
    """The comment after each field, including continuation lines."""
    comments: dict[str, str] = {}
    for base in reversed([base for base in schema.__mro__ if is_dataclass(base)]):
        lines = Path(inspect.getfile(base)).read_text(encoding="utf-8").splitlines()
        tree = ast.parse("\n".join(lines))
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == base.__name__]
        for node in classes[0].body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                of_lines = [lines[number] for number in range(node.lineno - 1, node.end_lineno or node.lineno)]
                comments[node.target.id] = " ".join(line.partition("  # ")[2] for line in of_lines).strip()
    return comments
