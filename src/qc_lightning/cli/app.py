"""Start of every command: help, arguments, and errors in one line. Hydra is imported only when needed."""

import os
import sys
from collections.abc import Callable
from typing import Any

from qc_lightning.core.console import escape_unprintable
from qc_lightning.core.errors import UserError
from qc_lightning.core.room import without_room
from qc_lightning.core.shutdown import Stopped

_NOBODY_READS = 141  # exit code for a closed pipe, as in shells


def show(text: str) -> None:
    """Print a page; the reader may close the pipe early (`| head`)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _close_output()


def _close_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_command(command: Callable[..., Any], name: str) -> None:
    """Run `command` with the settings from `conf/<name>.yaml` and the command line.

    A mistake of the user's ends in one line on standard error and exit code 2, Ctrl-C in one and 130 unless the command
    has work of its own to save; anything else is a bug and keeps its traceback.

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
    try:
        arguments = hydra_arguments(COMMANDS[name], words[front_door:], front_door)
        from qc_lightning.cli.start import start

        start(command, name, arguments)
        sys.stdout.flush()
    except UserError as error:
        print("error:", error, file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        _close_output()
        raise SystemExit(_NOBODY_READS) from None
    except OSError as error:
        if (line := without_room(error)) is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        raise SystemExit(2) from None
    except (KeyboardInterrupt, Stopped):
        print("stopped by Ctrl-C", file=sys.stderr)
        raise SystemExit(130) from None
