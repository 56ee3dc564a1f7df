"""From plain data (composed settings, a stored record) to the dataclasses of `config/`, every type checked."""

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, cast

from qc_lightning.core.errors import UserError
from qc_lightning.core.suggestions import nearest

T = TypeVar("T")


def build(schema: type[T], settings: Mapping[str, object], where: str = "") -> T:
    """Make a dataclass of plain data.

    Args:
        schema: the dataclass; its own checks run too.
        settings: a value for each field without a default, nested dataclasses as mappings.
        where: what stands before the names in messages, such as `data.`.

    Raises:
        UserError: a setting is not known, is missing, or is of another type than its field.
    """
    known = [field.name for field in fields(cast(Any, schema))]
    for key in settings:
        if key not in known:
            near = nearest(f"{where}{key}", [f"{where}{name}" for name in known])
            raise UserError(f"there is no setting '{where}{key}'{near}; --help lists them all")
    for field in fields(cast(Any, schema)):
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and field.name not in settings:
            raise UserError(f"{where}{field.name}: expected a value, got none")
    hints = typing.get_type_hints(schema)
    return schema(**{key: _typed(hints[key], value, f"{where}{key}") for key, value in settings.items()})


def _typed(hint: Any, value: object, key: str) -> object:
    """The value as its field's type wants it; an integer is a number too."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _typed(next(part for part in inner if part is not type(None)), value, key)
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"{key}: expected settings below it ({key}.<name>=<value>), got {value!r}")
        return build(cast(type[object], hint), value, f"{key}.")
    if origin is list:
        if not isinstance(value, list | tuple):
            raise UserError(f"{key}: expected a list such as [a, b], got {value!r}")
        return [_typed(inner[0], item, key) for item in value]
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise UserError(f"{key}: expected settings below it ({key}.<name>=<value>), got {value!r}")
        return {str(name): _typed(inner[1], item, f"{key}.{name}") for name, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        hints = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
        quotes = f"; as text it is written '\"{value}\"'" if hint is str and value is not None else ""
        raise UserError(f"{key}: expected {hints.get(hint, hint)}, got {value!r}{quotes}")
    return value
