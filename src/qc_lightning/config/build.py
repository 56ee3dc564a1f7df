"""Build the dataclasses of `config/` from plain data (composed settings, a stored record), checking every type.

OmegaConf's structured configs know neither `Literal` nor a choice between dataclasses, and composing over them takes
twice as long: Hydra composes plain data, and this turns it into the types.
"""

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, cast

from qc_lightning.config.checks import check_choice
from qc_lightning.core.errors import UserError
from qc_lightning.core.suggestions import nearest

T = TypeVar("T")


def build(schema: type[T], settings: Mapping[str, object], where: str = "") -> T:
    """Build a dataclass from plain data.

    Args:
        schema: the dataclass; its own checks run too.
        settings: a value for each field without a default, nested dataclasses as mappings. A field that may be None is
            None where it is left out, so that a record of before there was such a setting is still read.
        where: prefix of the names in messages, such as `data.`.

    Raises:
        UserError: a setting is unknown, missing, or not of its field's type.
    """
    names = [field.name for field in fields(cast(Any, schema))]
    for key in settings:
        if key not in names:
            near = nearest(f"{where}{key}", [f"{where}{name}" for name in names])
            raise UserError(f"there is no setting '{where}{key}'{near}; --help lists them all")
    hints, given = typing.get_type_hints(schema), dict(settings)
    for field in fields(cast(Any, schema)):
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and field.name not in settings:
            if type(None) not in typing.get_args(hints[field.name]):
                raise UserError(f"{where}{field.name}: expected a value, got none")
            given[field.name] = None
    return schema(**{key: typed(hints[key], value, f"{where}{key}") for key, value in given.items()})


def parts_of(hint: Any) -> list[Any]:
    """The types that a type hint allows, without None: one, or the dataclasses to choose from."""
    inner = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [part for part in inner if part is not type(None)]


def choices_of(hint: Any) -> tuple[Any, ...]:
    """All values of the `Literal`s in a type hint; empty if there are none."""
    parts = parts_of(hint)
    listed = all(typing.get_origin(part) is Literal for part in parts)
    return tuple(choice for part in parts for choice in typing.get_args(part)) if listed else ()


def typed(hint: Any, value: object, key: str) -> object:
    """Check a value against a type hint and convert it; an integer is also a float.

    Raises:
        UserError: it is of another type, or not one of the listed values.
    """
    if hint is Any:
        return value
    parts = parts_of(hint)
    if value is None and type(None) in typing.get_args(hint):
        return None
    if choices := choices_of(hint):
        check_choice(key, value, choices)
        return value
    if len(parts) > 1:
        return _of_one(parts, value, key)
    (hint,) = parts
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        return build(cast(type[object], hint), _below(value, key), f"{key}.")
    if origin is list:
        if not isinstance(value, list | tuple):
            raise UserError(f"{key}: expected a list such as [a, b], got {value!r}")
        return [typed(inner[0], item, key) for item in value]
    if origin in (dict, Mapping):
        return {str(name): typed(inner[1], item, f"{key}.{name}") for name, item in _below(value, key).items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        hints = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
        quotes = f"; as text, write '\"{value}\"'" if hint is str and value is not None else ""
        raise UserError(f"{key}: expected {hints.get(hint, hint)}, got {value!r}{quotes}")
    return value


def _below(value: object, key: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise UserError(f"{key}: expected settings below it ({key}.<name>=<value>), got {value!r}")
    return value


def _of_one(schemas: Sequence[Any], value: object, key: str) -> object:
    """Build the one of several dataclasses that `source` names; settings of the others may be null."""
    settings = _below(value, key)
    by_source = {choices_of(typing.get_type_hints(schema)["source"])[0]: schema for schema in schemas}
    source = settings.get("source")
    check_choice(f"{key}.source", source, tuple(by_source))
    own = {field.name for field in fields(by_source[source])}
    kept = dict(settings)
    for other, schema in by_source.items():
        for name in [field.name for field in fields(schema) if field.name not in own]:
            if kept.pop(name, None) is not None:
                raise UserError(f"{key}.{name}: only {key}={other} has it, got {key}={source}")
    return build(by_source[source], kept, f"{key}.")
