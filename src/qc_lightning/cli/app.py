"""Start of every command with Hydra, which is imported only when needed: help and arguments."""

import sys
from collections.abc import Callable
from typing import Any

from qc_lightning.cli.exit_codes import exit_codes, show
from qc_lightning.core.console import escape_unprintable


def run_command(command: Callable[..., Any], name: str) -> None:
    """Run `command` with the settings from `conf/<name>.yaml` and the command line; exit codes as in `exit_codes`.

    Args:
        command: takes the dataclass of its settings; `train` takes its run's folder too.
        name: of its line in `COMMANDS`.
    """
    from qc_lightning.cli.arguments import hydra_arguments
    from qc_lightning.cli.commands import COMMANDS

    escape_unprintable()
    words = sys.argv[1:]
    front_door = words[:1] == [name]  # called as qc-lightning <name>
    if {"-h", "--help"} & set(words):
        from qc_lightning.cli.help import help_of

        show(help_of(COMMANDS[name]))
        return
    with exit_codes():
        arguments = hydra_arguments(COMMANDS[name], words[front_door:], front_door)
        from qc_lightning.cli.start import start

        start(command, name, arguments)
