"""What a dataclass of settings says of itself: the names below it, their types, the comments beside them."""

import ast
import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, cast


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: dotted, as on the command line.
        comment: what stands beside it in its dataclass.
        text: whether its value is text, taken literally on the command line.
        optional: whether it may be null.
        open: whether any names may stand below it, as below `trainer`.
        parent: whether it is a dataclass with settings below it.
        default: of the dataclass; None where `conf/` has it.
    """

    name: str
    comment: str
    text: bool
    optional: bool
    open: bool
    parent: bool
    default: object


def settings_of(schema: type, prefix: str = "") -> list[Setting]:
    """Every setting of a dataclass and of those in it, each parent before its children."""
    found, hints, comments = [], typing.get_type_hints(schema), _comments(schema)
    for field in fields(cast(Any, schema)):
        hint = hints[field.name]
        inner = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
        plain = next(part for part in inner if part is not type(None))
        parent, is_open = is_dataclass(plain), typing.get_origin(plain) in (dict, Mapping)
        name = f"{prefix}{field.name}"
        text, optional = plain is str, type(None) in inner
        default = None if field.default is MISSING else field.default
        found.append(Setting(name, comments.get(field.name, ""), text, optional, is_open, parent, default))
        if parent:
            found += settings_of(cast(type, plain), f"{name}.")
    return found


def defaults_of(schema: type) -> dict[str, Any]:
    """The defaults of a dataclass as plain data, `???` where there is none."""
    hints = typing.get_type_hints(schema)
    plain: dict[str, Any] = {}
    for field in fields(cast(Any, schema)):
        if is_dataclass(hints[field.name]):
            plain[field.name] = defaults_of(hints[field.name])
        elif typing.get_origin(hints[field.name]) in (dict, Mapping):
            plain[field.name] = {}
        else:
            plain[field.name] = "???" if field.default is MISSING else field.default
    return plain


def _comments(schema: type) -> dict[str, str]:
    """The comment behind each field, its continuation in lines of their own included."""
    lines = Path(inspect.getfile(schema)).read_text(encoding="utf-8").splitlines()
    tree = ast.parse("\n".join(lines))
    body = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == schema.__name__).body
    comments = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            of_lines = [lines[number] for number in range(node.lineno - 1, node.end_lineno or node.lineno)]
            comments[node.target.id] = " ".join(line.partition("  # ")[2] for line in of_lines).strip()
    return comments
