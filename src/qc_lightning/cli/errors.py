"""Turn a user's mistake into one line in the terms of this project."""

import re

from hydra.errors import HydraException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from qc_lightning.config.presets import CONF, options
from qc_lightning.core.errors import UserError
from qc_lightning.core.suggestions import nearest


def one_line(error: BaseException, command: str | None = None) -> str:
    """Return an error as one line; Hydra's errors are reworded in the terms of this project."""
    text = str(error)
    if not isinstance(error, UserError | HydraException | OmegaConfBaseException):
        return " ".join(f"{type(error).__name__}: {text}".split())
    if isinstance(error, UserError):
        return text
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    unknown_key = re.search(r"Could not (?:override|append to config\.?) '([^']+)'", text)
    if unknown_key and "not in" in f"{text} {cause}":
        key = unknown_key[1].lstrip("+")
        return f"there is no setting '{key}'{nearest(key, _settings(command))}; --help lists them all"
    option = re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", text)
    if option and option[1] == "hydra/launcher" and (extra := option[2].split("_")[0]) in ("joblib", "submitit", "ray"):
        return f'hydra/launcher={option[2]} needs a package that is not installed: pip install "qc-lightning[{extra}]"'
    if option:
        choices = options(CONF / option[1])
        if choices:
            return f"{option[1]}: expected one of {', '.join(choices)}, got '{option[2]}'{nearest(option[2], choices)}"
    group = re.search(r"Could not override '([^']+)'\. No match", text)
    if group:
        return f"there is no group '{group[1]}'{nearest(group[1], _settings(command))}; --help lists them all"
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key}: expected a value, got none: give {cause.full_key}=..."
    key_of = getattr(cause, "full_key", None)
    if key_of and "Cannot merge DictConfig with ListConfig" in str(cause):
        below = [f"{name}=" for name in _settings(command) if name.startswith(f"{key_of}.")]
        return (
            f"{key_of}: expected {', '.join(below)}, got a list"
            if below
            else f"{key_of}: expected a list, got settings"
        )
    lines = [line.strip() for line in str(getattr(cause, "msg", None) or cause).splitlines()]
    message = ", ".join(lines[:2] if "parsing override" in lines[0] else lines[:1])
    return f"{key_of}: {message}" if key_of else message


def _settings(command: str | None) -> list[str]:
    from qc_lightning.cli.compose import setting_names

    return setting_names(command) if command else []
