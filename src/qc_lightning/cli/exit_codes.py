"""How every command ends: output, errors in one line, and exit codes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from qc_lightning.core.errors import UserError
from qc_lightning.core.room import without_room
from qc_lightning.core.shutdown import Stopped

_MISTAKE, _INTERRUPTED, _NOBODY_READS = 2, 130, 141  # the last for a closed pipe, as in shells


def show(text: str) -> None:
    """Print a page; the reader may close the pipe early (`| head`)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _close_output()


@contextmanager
def exit_codes() -> Iterator[None]:
    """Run a command in the block.

    A mistake of the user's ends in one line on standard error and exit code 2, Ctrl-C in one and 130 unless the command
    has work of its own to save, a closed pipe in 141; anything else is a bug and keeps its traceback.

    Raises:
        SystemExit: the command has not succeeded.
    """
    try:
        yield
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(_MISTAKE) from None
    except BrokenPipeError:
        _close_output()
        raise SystemExit(_NOBODY_READS) from None
    except OSError as error:
        if (line := without_room(error)) is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        raise SystemExit(_MISTAKE) from None
    except (KeyboardInterrupt, Stopped):
        print("stopped by Ctrl-C", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None


def _close_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
