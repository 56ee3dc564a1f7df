"""The settings' dataclasses: one per source, choices listed, each default in one place."""

import re
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

import pytest

from qc_lightning import config as settings_room
from qc_lightning.cli.commands import COMMANDS
from qc_lightning.cli.compose import compose
from qc_lightning.cli.help import _composed
from qc_lightning.config import ElpvConfig, FolderConfig, PartsConfig, TrainConfig
from qc_lightning.config.build import build
from qc_lightning.config.settings import settings_of
from qc_lightning.core.errors import UserError

MISSING = object()
PACKAGE = Path(settings_room.__file__).parents[1]


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [([], PartsConfig), (["data=folder", "data.root=x"], FolderConfig), (["data=elpv"], ElpvConfig)],
)
def test_a_source_has_a_dataclass_of_its_own(overrides: list[str], kind: type) -> None:
    config = compose(overrides)
    assert type(config.data) is kind
    assert build(TrainConfig, asdict(config)) == config


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data=elpv", "data.count=5"], "data.count: only data=parts has it, got data=elpv"),
        (["data.root=x"], "data.root: only data=folder has it, got data=parts"),
        (["data.uncertain=drop"], "data.uncertain: only data=elpv has it, got data=parts"),
        (["data=elpv", "data.uncertain=no"], "data.uncertain: expected one of drop, threshold, got 'no'"),
        (["data.group=modul"], "data.group: expected one of none, folder, prefix, module, got 'modul'"),
        (["model.views=3"], "model.views: expected one of 1, 2, 4, got 3"),
        (["model.pool=[avg,min]"], "model.pool: expected one of avg, max, std, got 'min'"),
    ],
)
def test_what_does_not_go_together_is_named(overrides: list[str], line: str) -> None:
    with pytest.raises(UserError) as error:
        compose(overrides)
    assert str(error.value) == line


def test_every_default_stands_in_one_place() -> None:
    """Defaults are in `conf/`, or in the dataclass if no YAML is read or an option only lists what it enables."""
    for name, command in COMMANDS.items():
        composed = {} if command.plain else _composed(name)
        for setting in settings_of(command.schema):
            node: object = composed
            for part in setting.name.split("."):
                node = node.get(part, MISSING) if isinstance(node, dict) else MISSING
            assert setting.default is None or node is MISSING, f"{name}: {setting.name}"


def test_what_a_mode_means_is_said_in_one_place() -> None:
    """Others ask for a property of the model settings, not for the value of `model.mode`; a scratch is a defect too."""
    named = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"""["'](scratch|frozen|finetune)["']""", path.read_text(encoding="utf-8"))
    ]
    assert sorted(named) == [
        "config/model.py",
        "data/parts/defects.py",
        "training/modes.py",
    ]


def test_settings_are_given_by_name() -> None:
    """An added setting does not change the others."""
    schemas = [item for item in vars(settings_room).values() if isinstance(item, type) and is_dataclass(item)]
    assert len(schemas) > 25
    assert [field.name for schema in schemas for field in fields(schema) if not field.kw_only] == []


def test_a_command_tells_its_story_in_60_lines() -> None:
    """Any further behaviour is in its package."""
    for name in COMMANDS:
        lines = (PACKAGE / f"{name}.py").read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 60, name
