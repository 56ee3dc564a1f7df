"""Text of `--help` and of a bare `qc-lightning`. Needs no Hydra, so it appears at once."""

import textwrap
from pathlib import Path
from typing import Any

from qc_lightning.cli.commands import COMMANDS, Command
from qc_lightning.config.presets import CONF, options
from qc_lightning.config.settings import Setting, settings_of

_NAME_WIDTH, _WIDTH = 40, 120


def overview() -> str:
    """The list of commands."""
    lines = ["qc-lightning <command> [path] [key=value ...]     a pass/fail inspector from two folders of photos", ""]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines.append(f"{group}:")
        lines += [f"  {command.name:14}{command.summary}" for command in COMMANDS.values() if command.group == group]
        lines.append("")
    return "\n".join([*lines, "start with: qc-lightning train photos/     (photos/Correct and photos/Incorrect)",
                      "settings of a command: qc-lightning <command> --help"])  # fmt: skip


def help_of(command: Command) -> str:
    """Summary, usage and settings of a command, each setting with its default and explanation."""
    content = _composed(command.name)
    lines = [str(content["hydra"]["help"]["template"]).rstrip(), ""]
    defaults = _yaml(CONF / f"{command.name}.yaml").get("defaults", [])
    groups = [key for entry in defaults if isinstance(entry, dict) for key in entry if "override" not in key]
    if groups:
        lines.append("Groups, chosen as group=option:\n")
        lines += [f"  {group:12}{', '.join(options(CONF / group))}" for group in groups]
        lines.append("")
    lines.append("Settings, given as key=value (--cfg job shows the values of a call):\n")
    for setting in settings_of(command.schema):
        if setting.parent or setting.name in groups:
            continue
        named = f"  {setting.name}={_shown(content, setting)}"
        comment = textwrap.wrap(setting.comment, _WIDTH - _NAME_WIDTH)
        if len(named) < _NAME_WIDTH and comment:
            named = named.ljust(_NAME_WIDTH) + comment.pop(0)
        lines += [named, *(" " * _NAME_WIDTH + line for line in comment)]
    return "\n".join(lines)


def _shown(content: Any, setting: Setting) -> str:
    """The default of a setting as one would type it."""
    for part in setting.name.split("."):
        content = content.get(part, setting.default) if isinstance(content, dict) else setting.default
    if content is None or isinstance(content, bool):
        return {None: "null", True: "true", False: "false"}[content]
    return "" if isinstance(content, dict) else str(content).replace("'", "")


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    content: Any = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return content or {}


def _composed(name: str) -> dict[str, Any]:
    """A command's default config, composed as Hydra would."""
    own = _yaml(CONF / f"{name}.yaml")
    result: dict[str, Any] = {}
    for entry in own.pop("defaults", []):
        for group, option in entry.items() if isinstance(entry, dict) else ():
            if option is not None and "override" not in group:
                result[group] = _option(group, option)
    return _merged(result, own)


def _option(group: str, name: str) -> dict[str, Any]:
    own = _yaml(CONF / group / f"{name}.yaml")
    result: dict[str, Any] = {}
    for parent in own.pop("defaults", []):
        if isinstance(parent, str) and (CONF / group / f"{parent}.yaml").is_file():
            result = _merged(result, _option(group, parent))
    return _merged(result, own)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(below[key], above[key]) for key in below.keys() & above.keys() if isinstance(above[key], dict)}
    return below | above | both
