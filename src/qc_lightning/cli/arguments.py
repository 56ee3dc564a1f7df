"""Translate the command line into Hydra overrides: paths, literal text, the recipe for the user's own photos."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from qc_lightning.cli.commands import Command
from qc_lightning.config.literal import is_quoted, literal, quoted
from qc_lightning.config.presets import CONF, options
from qc_lightning.config.settings import Setting, settings_of
from qc_lightning.core.errors import UserError
from qc_lightning.core.suggestions import nearest

# of Hydra, with the number of words behind each
_OPTIONS = {"-m": 0, "--multirun": 0, "--resolve": 0, "--hydra-help": 0, "--cfg": 1, "-c": 1, "--package": 1, "-p": 1}
_OPTIONS |= {"--config-dir": 1, "-cd": 1, "--info": 1, "-i": 1, "--shell-completion": 0, "-sc": 0}


def hydra_arguments(command: Command, words: Sequence[str], front_door: bool) -> list[str]:
    """The arguments of a command for Hydra.

    Args:
        command: which.
        words: behind its name on the command line.
        front_door: whether it was called as `qc-lightning <command>`, which takes a path and chooses a recipe.

    Raises:
        UserError: a word is neither a setting nor an option nor a path.
    """
    settings = {setting.name: setting for setting in settings_of(command.schema)}
    swept = bool({"-m", "--multirun"} & set(words))
    flags: list[str] = []
    overrides: list[str] = []
    paths: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word.startswith("-") and not os.path.lexists(word):
            count = _count(word, settings)
            flags += [word, *words[:count]]
            del words[:count]
        elif _is_setting(word, settings):
            overrides.append(_override(word, settings, swept))
        elif front_door and command.path and not _is_mistyped(word):
            paths.append(word)
        else:
            raise UserError(_stray(word, command, list(settings)))
    if len(paths) > 1:
        raise UserError(f"expected one path, got {len(paths)}: {', '.join(paths)} (quote a path with spaces)")
    if paths:
        listed = command.path == "data.root" and paths[0].lower().endswith(".csv") and not Path(paths[0]).is_dir()
        overrides.insert(0, f"{'data.manifest' if listed else command.path}={quoted(paths[0])}")
    if command.name == "train":
        overrides = _of_own_photos(overrides, front_door)
    return [*flags, *overrides]


def _of_own_photos(overrides: list[str], front_door: bool) -> list[str]:
    """Select `data=folder` if photos are named, and the recipe for real photos when called as `qc-lightning`."""
    given = {_key(override): override.partition("=")[2] for override in overrides}
    named = next((key for key in ("data.root", "data.manifest") if given.get(key, "null") not in ("null", "")), None)
    if named is None or "resume" in given:
        return overrides
    if given.get("data", "folder") != "folder":
        raise UserError(f"{named} names photos of your own: leave out data={given['data']}")
    source = [] if "data" in given else ["data=folder"]
    recipe = ["experiment=recommended"] if front_door and not {"experiment", "model"} & set(given) else []
    return [*source, *recipe, *overrides]


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition("@")[0]


def _is_setting(word: str, settings: dict[str, Setting]) -> bool:
    key = _key(word)
    above = key.split(".")[0]
    if "=" not in word and not word.startswith("~"):
        return False
    is_setting = key in settings or key == "hydra" or key.startswith(("hydra.", "hydra/")) or (CONF / key).is_dir()
    return bool(key) and (is_setting or (above in settings and settings[above].open) or key.startswith("sweep.params."))


def _is_mistyped(word: str) -> bool:
    """Whether a word looks like a misspelt setting and is not a path."""
    return re.match(r"[+~]*[A-Za-z_][\w.]*=", word) is not None and not os.path.lexists(word)


def _override(word: str, settings: dict[str, Setting], swept: bool) -> str:
    key, equals, value = word.partition("=")
    group = CONF / key.lstrip("+").partition("@")[0]
    if equals and (group / "base.yaml").is_file() and "base" in re.split(r"[,\[\] ]+", value):
        raise UserError(f"{key}: expected one of {', '.join(options(group))}, got 'base', which they all start from")
    setting = settings.get(key.lstrip("+"))
    if equals and key in ("hydra.run.dir", "hydra.sweep.dir"):
        return f"{key}={value}" if not value or is_quoted(value) or "${" in value else f"{key}={quoted(value)}"
    if not equals or setting is None or not setting.text or (setting.optional and value == "null"):
        return word
    return f"{key}={literal(value, os.path.lexists(value), swept)}"


def _count(word: str, settings: dict[str, Setting]) -> int:
    """Number of words that belong to an option."""
    if word in _OPTIONS:
        return _OPTIONS[word]
    name = word.lstrip("-").partition("=")[0].replace("-", "_")
    near = nearest(name, [name for name, setting in settings.items() if not setting.parent])
    raise UserError(f"there is no option {word}{near}: settings are given as key=value; --help lists them all")


def _stray(word: str, command: Command, names: list[str]) -> str:
    if _is_mistyped(word):
        return f"there is no setting '{_key(word)}'{nearest(_key(word), names)}; --help lists them all"
    if word in names:
        return f"{word}: expected a value, {word}=...; --help lists all settings"
    if not command.path:
        return f"expected key=value, got '{word}'; --help lists all settings"
    return (
        f"expected key=value, got '{word}': give {command.path}={word}, "
        f"or call qc-lightning {command.name} {word}; --help lists all settings"
    )
