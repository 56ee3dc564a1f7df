"""A run's record, `config.yaml` in its folder: the command and every setting, resolved.

The only module that reads or writes stored settings. They are plain data: nothing in a record is resolved or
executed, so a record from a stranger can only set settings.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qc_lightning.config.build import build, typed
from qc_lightning.config.data import AnyData
from qc_lightning.config.training import TrainConfig
from qc_lightning.core.atomic import write_text
from qc_lightning.core.errors import UserError
from qc_lightning.core.reading import read_text
from qc_lightning.core.run import Run

if TYPE_CHECKING:
    import yaml

FORMAT = 1
_LARGEST = 1 << 18  # bytes; real ones have a few thousand, and a megabyte takes a minute to parse


@dataclass(frozen=True)
class RunRecord:
    """Content of `config.yaml`.

    Attributes:
        command: the command as typed, one line for a shell.
        overrides: the settings in it, as Hydra overrides.
        directory: base of relative paths.
        settings: the training's settings, as plain data.
    """

    command: str
    overrides: list[str]
    directory: str
    settings: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: TrainConfig, command: str, overrides: list[str]) -> "RunRecord":
        """The record of a training that starts now in this directory."""
        return cls(command, overrides, str(Path.cwd()), asdict(config))

    def to_yaml(self) -> str:
        """The text of `config.yaml`."""
        import yaml

        content = {"format": FORMAT, **asdict(self)}
        text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
        return text

    def write(self, run: Run) -> None:
        """Write it to a run's folder, replacing an earlier one."""
        write_text(run.record, self.to_yaml())

    @classmethod
    def read(cls, run: Run) -> "RunRecord":
        """Read the record of a run.

        Raises:
            UserError: it is missing, damaged, or from another release.
        """
        content = read_yaml(run)
        if content.get("format") != FORMAT:
            raise UserError(
                f"{run.record}: expected format {FORMAT}, got {content.get('format')!r}: written by another release of "
                "qc-lightning; train again"
            )
        del content["format"]
        try:
            return build(cls, content)
        except UserError as error:
            raise UserError(f"{run.record} is damaged ({error}): restore it or train again") from error

    @property
    def training(self) -> TrainConfig:
        """The settings as dataclasses.

        Raises:
            UserError: another release wrote them.
        """
        with _of_this_release():
            return build(TrainConfig, self.settings)

    @property
    def data(self) -> AnyData:
        """The settings of the photos; errors as for `training`."""
        with _of_this_release():
            return cast(AnyData, typed(AnyData, self.settings.get("data"), "data"))


def read_yaml(run: Run) -> dict[str, Any]:
    """A run's `config.yaml` as plain data.

    Raises:
        UserError: there is no such file, or it was not written by this project.
    """
    import yaml

    path = run.record
    try:
        content: object = yaml.load(read_text(path, _LARGEST), _loader())
    except FileNotFoundError:
        why = "made by a release that kept its settings in .hydra/" if (run.folder / ".hydra").is_dir() else "no run"
        raise UserError(f"{run.folder} has no config.yaml ({why}): train again") from None
    except (OSError, UnicodeDecodeError, RecursionError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged ({reason}): restore it or train again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (expected settings, got {type(content).__name__}): restore or train again")
    return content


def _loader() -> "type[yaml.SafeLoader]":
    import yaml

    class Loader(yaml.SafeLoader):
        """Loads plain data without aliases, with which a few lines can expand without limit."""

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not allowed")
            return super().compose_node(parent, index)

    return Loader


@contextmanager
def _of_this_release() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"its settings are of another release of qc-lightning ({error}): train again") from error
